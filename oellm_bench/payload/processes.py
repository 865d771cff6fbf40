"""Processes below this one: start them, wait for signals, end all of them.

The few lines this shares with proctree.py are the price of standing alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

STOP, RELAYED = (signal.SIGTERM, signal.SIGINT), (signal.SIGUSR1, signal.SIGUSR2)
_SIGNALS = (signal.SIGCHLD, *STOP, *RELAYED)
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_LIBC = ctypes.CDLL(None)


def prepare() -> None:
    """Block the signals that `next_signal` waits for, and adopt every orphan below this process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    for number in _SIGNALS:  # what a shell has set to be ignored we would miss and the command inherit
        signal.signal(number, signal.SIG_DFL)
    for number in RELAYED:  # never called, the signal is waited for; tells others that we handle it
        signal.signal(number, lambda *_: None)
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def popen(
    argv: list[str], environment: dict[str, str], *, stdout: Any, dies_with_us: bool = False
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own. Raises OSError where that cannot be done."""

    def ready() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        if dies_with_us:
            _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)

    return subprocess.Popen(
        argv,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=None if stdout is None else subprocess.STDOUT,
        start_new_session=True,
        preexec_fn=ready,
    )


def say(text: str) -> None:
    """Write a line to stderr; one that cannot take it must not end us."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"payload: {text}\n")


def next_signal(timeout_s: float) -> int | None:
    """Return the next signal that comes in time, a child's end too."""
    found = signal.sigtimedwait(_SIGNALS, timeout_s)
    return None if found is None else found.si_signo


def reap(*processes: subprocess.Popen[bytes]) -> None:
    """Collect whatever has ended, adopted orphans too, and tell those of `processes` their return code."""
    known = {process.pid: process for process in processes}
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] in known:
                known[ended[0]].returncode = os.waitstatus_to_exitcode(ended[1])


def wait(process: subprocess.Popen[bytes], limit_s: float) -> None:
    """Wait for the end of a process; signals to us change nothing meanwhile."""
    deadline = time.monotonic() + limit_s
    while process.returncode is None and (left_s := deadline - time.monotonic()) > 0:
        next_signal(left_s)
        reap(process)


def end(*, grace_s: float, spare: int = 0) -> None:
    """TERM all but the tree of `spare`, wait up to `grace_s`, then KILL for up to 20 s until nothing is left."""
    began = time.monotonic()
    for pid in _below(spare) if grace_s else ():
        _send(pid, signal.SIGTERM, signal.SIGCONT)
    while (pids := _below(spare)) and (waited_s := time.monotonic() - began) < grace_s + 20:
        for pid in pids if waited_s >= grace_s else ():
            _send(pid, signal.SIGKILL)
        time.sleep(0.02)


def notify_handlers(root: int, number: int) -> None:
    """Send a signal to the topmost processes from `root` down that handle it: it would kill any other."""
    children, asked = _children(), [root]
    for pid in asked:
        with contextlib.suppress(OSError, ValueError, IndexError):
            status = Path(f"/proc/{pid}/status").read_bytes()
            if int(status.partition(b"SigCgt:")[2].split()[0], 16) >> (number - 1) & 1:
                _send(pid, number)
            else:
                asked.extend(children.get(pid, ()))


def _children() -> dict[int, list[int]]:
    """Return the living processes by parent."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - Path objects would be waste
        with contextlib.suppress(OSError, ValueError):
            fields = Path(f"/proc/{int(name)}/stat").read_bytes().rpartition(b") ")[2].split()
            if fields[0] != b"Z" or int(fields[17]) > 1:  # a zombie with threads left has not quite ended
                children.setdefault(int(fields[1]), []).append(int(name))
    return children


def _below(spare: int) -> list[int]:
    """Return the living processes below this one, parents first, without the tree of `spare`."""
    children = _children()
    found = [pid for pid in children.get(os.getpid(), ()) if pid != spare]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def _send(pid: int, *numbers: int) -> None:
    for number in numbers:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
