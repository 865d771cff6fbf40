"""Run one command to its end: its time, the signals on its way, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from oellm_bench import proctree
from oellm_bench.core.result import ErrorMode

GRACE_S = 10.0  # from TERM to KILL; SLURM's own KillWait is 30 s
LEFTOVER_GRACE_S = 2.0  # the same for what a command leaves running behind it
RUNAWAY_LIMIT_S = 10.0
_STOP = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
_RELAYED = (signal.SIGUSR1, signal.SIGUSR2)
_SIGNALS = (signal.SIGCHLD, *_STOP, *_RELAYED)
_LOOK_S = 0.5  # how often to look whether the command has started
_LONGEST_WAIT_S = 3600.0
_ALONG_S = 0.5  # between the first and the last process of a job that one order ends
TIME_UP = 0  # no signal has this number


@dataclass(frozen=True, kw_only=True)
class Launch:
    """A command and its limits.

    `started_at` tells since when (epoch seconds) the command proper runs, None: not yet; then `timeout_s`
    begins. Until then `start_limit_s` holds. `has_ended` tells that the command proper is over and only
    cleaning up is left, which neither the time limit nor a signal interrupts. `stop_limit_s` above zero: the
    program passes TERM on and cleans up by itself, and is given that long before its tree is ended from outside.
    `at_end` is called before anything is ended from outside, with None where the command has ended by itself, the
    signal that stops us, or TIME_UP.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str]
    cwd: Path
    stdout: Path
    stderr: Path
    timeout_s: float
    started_at: Callable[[], float | None] | None = None
    has_ended: Callable[[], bool] | None = None
    start_limit_s: float = 0.0
    stop_limit_s: float = 0.0
    at_end: Callable[[int | None], None] | None = None


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How the command ended.

    `returncode` is negative for a signal, None where it never ran. `signal` is the one that stopped us, 0 for
    none. `leftovers` counts the processes that outlived the command, `survivors` those that outlived KILL.
    """

    returncode: int | None
    failure: ErrorMode | None = None
    message: str = ""
    signal: int = 0
    started_at: float
    ended_at: float
    leftovers: int = 0
    survivors: tuple[int, ...] = ()


def hold_signals() -> None:
    """Block the signals this module waits for: from here on none is lost and none interrupts a write."""
    # nohup has set HUP to be ignored, and means it.
    held = [number for number in _SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    signal.pthread_sigmask(signal.SIG_BLOCK, held)
    # A shell that starts us in the background has set INT to be ignored, others do so with CHLD: the command
    # must not inherit the one, and the other would hide its end from us.
    for number in held:
        signal.signal(number, signal.SIG_DFL)


def supervise(launch: Launch) -> Ended:
    """Run the command; `hold_signals` comes first. Raises OSError where its logs cannot be opened."""
    proctree.become_subreaper()
    started_at, clock = time.time(), time.monotonic()
    with launch.stdout.open("ab") as stdout, launch.stderr.open("ab") as stderr:
        try:
            child = _spawn(launch, stdout.fileno(), stderr.fileno())
        except (OSError, ValueError) as err:  # ValueError: a zero byte in an argument or the environment
            message = _spawn_problem(launch, err)
            _tell_end(launch, None)
            failed = Ended(returncode=None, started_at=started_at, ended_at=started_at)
            return replace(failed, failure=ErrorMode.CRASH, message=message)
    number = _wait(child, launch)
    run_s = time.monotonic() - clock
    _tell_end(launch, number)
    leftovers, survivors = _clear(child, launch, stopped=number is not None)
    if number is not None:
        run_s = time.monotonic() - clock
    ended = Ended(
        returncode=child.returncode,
        started_at=started_at,
        ended_at=started_at + run_s,
        leftovers=leftovers,
        survivors=tuple(survivors),
    )
    return _with_failure(ended, launch, number)


def _tell_end(launch: Launch, number: int | None) -> None:
    if launch.at_end is not None:
        launch.at_end(number)


def _spawn(launch: Launch, stdout: int, stderr: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        launch.argv,
        env=dict(launch.environment),
        cwd=launch.cwd,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
        preexec_fn=_prepare_child,  # safe: this process has one thread
    )


def _prepare_child() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    # Where we are killed nobody is left to end the tree; TERM at least lets its top do so.
    proctree.die_with_parent(signal.SIGTERM)


def _spawn_problem(launch: Launch, err: OSError | ValueError) -> str:
    if isinstance(err, ValueError):
        return f"cannot start {launch.argv[0]!r}: {err}"
    if str(err.filename) == str(launch.cwd):
        return f"cannot enter the folder {launch.cwd}: {err.strerror}"
    return f"cannot start {launch.argv[0]}: {err.strerror}"


class _TimeLimit:
    """How long there is to wait; a clock set while the job runs changes nothing but the look at the start."""

    def __init__(self, launch: Launch) -> None:
        self._launch = launch
        self._began = time.monotonic()
        self._starting = launch.started_at is not None
        self._limit_s = launch.start_limit_s if self._starting else launch.timeout_s
        self._cleaning = False

    def left_s(self) -> float:
        """Return the seconds left: of the start's limit, of the command's, of the cleaning up's."""
        if self._starting and self._launch.started_at is not None:
            since = self._launch.started_at()
            if since is not None:
                self._starting = False
                self._began = time.monotonic() - max(0.0, time.time() - since)
                self._limit_s = self._launch.timeout_s
        left_s = self._began + self._limit_s - time.monotonic()
        return self._launch.stop_limit_s if left_s <= 0 and self.cleans_up() else left_s

    def wait_s(self, left_s: float) -> float:
        """Return how long to wait at most before the next look."""
        return min(left_s, _LOOK_S if self._starting else _LONGEST_WAIT_S)

    def cleans_up(self) -> bool:
        """Tell, the first time it is so, that only cleaning up is left, and begin its own limit."""
        if self._cleaning or self._launch.has_ended is None or not self._launch.has_ended():
            return False
        self._cleaning = True
        self._began, self._limit_s = time.monotonic(), self._launch.stop_limit_s
        return True


def _wait(child: subprocess.Popen[bytes], launch: Launch) -> int | None:
    """Wait for the end: None where the command ended by itself, else the signal received or TIME_UP."""
    limit = _TimeLimit(launch)
    while (left_s := limit.left_s()) > 0:
        found = signal.sigtimedwait(_SIGNALS, limit.wait_s(left_s))
        if _reap(child):
            return _stopped_along(child.returncode, found)
        if found is not None and found.si_signo in _STOP and not limit.cleans_up():
            return found.si_signo
        if found is not None and found.si_signo in _RELAYED:
            proctree.notify_handlers(os.getpid(), found.si_signo)
    return TIME_UP


def _stopped_along(returncode: int, found: signal.struct_siginfo | None) -> int | None:
    """Return the signal that stops us where it has ended the command already, None where that ended by itself.

    A scheduler sends TERM to all processes of a job at once: the command may be the first to go.
    """
    if -returncode not in _STOP:
        return None
    if found is None or found.si_signo not in _STOP:
        found = signal.sigtimedwait(_STOP, _ALONG_S)
    return None if found is None else found.si_signo


def _clear(child: subprocess.Popen[bytes], launch: Launch, *, stopped: bool) -> tuple[int, list[int]]:
    """End what is still there. Returns how many outlived the command, and who outlived KILL."""
    if stopped and launch.stop_limit_s:
        _stop_gently(child, launch.stop_limit_s)
    below = proctree.descendants(os.getpid())
    grace_s = GRACE_S if child.returncode is None else LEFTOVER_GRACE_S
    survivors = proctree.kill_descendants(os.getpid(), grace_s=grace_s)
    _reap(child)
    deadline = time.monotonic() + RUNAWAY_LIMIT_S
    while proctree.has_children() and not survivors and time.monotonic() < deadline:
        proctree.kill_children()
        _reap(child)
    return (0 if stopped else len(below)), survivors


def _stop_gently(child: subprocess.Popen[bytes], limit_s: float) -> None:
    proctree.send(child.pid, signal.SIGTERM)
    deadline = time.monotonic() + limit_s
    while not _reap(child) and (left_s := deadline - time.monotonic()) > 0:
        signal.sigtimedwait((signal.SIGCHLD,), left_s)


def _reap(child: subprocess.Popen[bytes]) -> bool:
    """Collect all that has ended, adopted orphans too; tells whether the child has ended, now or before."""
    code = proctree.reap().get(child.pid)
    if code is not None:
        child.returncode = code
    return child.returncode is not None


def _with_failure(ended: Ended, launch: Launch, number: int | None) -> Ended:
    notes = [f"{len(ended.survivors)} processes outlived SIGKILL"] if ended.survivors else []
    failure = None
    if number == TIME_UP:
        failure = ErrorMode.TIMEOUT
        notes.insert(0, f"stopped at its time limit of {launch.timeout_s:g} s")
    elif number is not None:
        failure = ErrorMode.CANCELLED
        notes.insert(0, f"received {signal.Signals(number).name}")
    return replace(ended, failure=failure, signal=number or 0, message="; ".join(notes))
