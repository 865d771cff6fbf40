"""Run a command beside a Ray head of its own: `payload.py SPEC.json -- COMMAND...`.

This file stands alone: the standard library of Python 3.9, nothing of this package, so that it can be
bind-mounted into a container and run by the container's Python. The few lines it shares with proctree.py
are the price. SPEC.json: `{"ray": {executable, num_cpus, num_gpus, object_store_bytes, startup_timeout_s,
start_attempts}, "startup_log": PATH, "logs_path": FOLDER, "state_path": PATH}`.

The command finds the head in RAY_ADDRESS. Its exit code is ours (128+n for signal n, 127 where it cannot be
started); 90: the head did not come up. `state_path` tells the same and more in JSON (`State`). TERM and INT
are passed on as TERM, then KILL after a grace time; USR1 and USR2 reach whoever handles them.

Only this head is ever stopped: `ray stop` would end every Ray of this user on the node.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

EXIT_RAY_START_FAILED = 90
EXIT_NOT_STARTED = 127
COMMAND_GRACE_S = 10.0
LEFTOVER_GRACE_S = 2.0
# A clean stop takes 1-2 s; where the control store died first, `ray start` would wait 30 s for it.
HEAD_GRACE_S = 8.0
# <temp dir>/session_<date>_<7-digit pid>/sockets/plasma_store has to fit into the 107 bytes of a socket path.
LONGEST_TEMP_DIR = 43
_TEMP_PREFIX, _LOCK = "obr-", "owner.lock"
_READY = b"Ray runtime started"
_POLL_S = 0.05
_SIGNALS = (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
_STOP, _RELAYED = (signal.SIGTERM, signal.SIGINT), (signal.SIGUSR1, signal.SIGUSR2)
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_LIBC = ctypes.CDLL(None)


class HeadFailed(Exception):
    """The Ray head did not come up; the text is the reason."""


class Stopped(Exception):
    """TERM or INT came before the command was started."""


class State:
    """What the supervisor outside reads: times in epoch seconds, return code negative for a signal."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, Any] = {"failure": "", "message": "", "returncode": None}
        self.update()  # tells that we run at all

    def update(self, **values: Any) -> None:
        """Add values and replace the file; a full disk is no reason to leave the head running."""
        self._values.update(values)
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            temporary.write_text(json.dumps(self._values, indent=1) + "\n", encoding="utf-8")
            temporary.replace(self._path)
        except OSError as err:
            _say(f"{self._path} cannot be written ({err.strerror})")


class Head:
    """One Ray head with its own ports, token and folder for temporary files."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self._timeout_s = float(spec["ray"]["startup_timeout_s"])
        self._token = secrets.token_hex(32)
        self._temp_dir = _temp_dir()
        _own(self._temp_dir)
        argv = _head_argv(spec["ray"], self._temp_dir)
        try:
            with Path(spec["startup_log"]).open("ab") as log:
                self._log, self._log_start = Path(log.name), log.tell()
                # The head must not outlive us, not even when we are killed; its daemons share its fate.
                self.process = _popen(argv, self.environment(), stdout=log, dies_with_us=True)
        except OSError as err:
            shutil.rmtree(self._temp_dir, ignore_errors=True)
            raise HeadFailed(f"{err.filename or argv[0]}: {err.strerror}") from err

    def environment(self, **more: str) -> dict[str, str]:
        """Return this process's environment with the head's token in place of any other cluster's."""
        foreign = ("RAY_ADDRESS", "RAY_AUTH_TOKEN_PATH")
        inherited = {name: value for name, value in os.environ.items() if name not in foreign}
        return {**inherited, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self._token, **more}

    def wait_until_ready(self) -> str:
        """Return the address, ip:port. Raises HeadFailed with the reason, Stopped on TERM or INT."""
        deadline = time.monotonic() + self._timeout_s
        address = self._temp_dir / "ray_current_cluster"
        while not (_READY in self._output() and address.exists() and address.stat().st_size):
            if self.process.poll() is not None:
                raise HeadFailed(f"`ray start` ended with {self.process.returncode}: {self._last_line()}")
            if time.monotonic() > deadline:
                raise HeadFailed(f"not ready after {self._timeout_s:g} s: {self._last_line()}")
            if _next_signal(_POLL_S) in _STOP:
                raise Stopped
        return address.read_text(encoding="utf-8").strip()

    def stop(self, logs_path: Path, *, at_once: bool = False) -> None:
        """End this head and nothing else, keep its logs, remove its folder; `at_once` where we are killed soon."""
        if self.process.poll() is None and not at_once:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(HEAD_GRACE_S)
        _end(grace_s=0)
        _reap(self.process)
        for session in self._temp_dir.glob("session_*_*"):
            try:
                shutil.copytree(session / "logs", logs_path / session.name, dirs_exist_ok=True)
            except OSError as err:
                _say(f"not all of Ray's logs could be kept in {logs_path} ({err!s:.300})")
        shutil.rmtree(self._temp_dir, ignore_errors=True)

    def _output(self) -> bytes:
        with self._log.open("rb") as stream:
            stream.seek(self._log_start)  # what earlier starts wrote is not this one's
            return stream.read()

    def _last_line(self) -> str:
        lines = self._output().decode("utf-8", "replace").strip().splitlines()
        return lines[-1].strip()[:300] if lines else "it wrote nothing"


def main(arguments: list[str]) -> int:
    """Start the head, run the command, stop the head; return the exit code."""
    if len(arguments) < 3 or arguments[1] != "--":
        _say("usage: payload.py SPEC.json -- COMMAND...")
        return 2
    spec = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    for number in _SIGNALS:  # what a shell has set to be ignored we would miss and the command inherit
        signal.signal(number, signal.SIG_DFL)
    for number in _RELAYED:  # never called, the signal is waited for; tells others that we handle it
        signal.signal(number, lambda *_: None)
    _LIBC.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    state = State(Path(spec["state_path"]))
    logs_path = Path(spec["logs_path"])
    try:
        head, address = start_head(spec, state, logs_path)
    except HeadFailed as err:
        state.update(failure="ray_start_failed", message=f"the Ray head did not start: {err}")
        _say(f"the Ray head did not start: {err}")
        return EXIT_RAY_START_FAILED
    except Stopped:
        state.update(failure="cancelled", message="stopped while the Ray head was starting")
        return 128 + signal.SIGTERM
    stopped = True
    try:
        returncode, stopped = run_command(arguments[2:], head, address, state)
    finally:
        began = time.monotonic()
        head.stop(logs_path, at_once=stopped)
        state.update(stop_s=round(time.monotonic() - began, 3))
    return 128 - returncode if returncode < 0 else returncode


def start_head(spec: dict[str, Any], state: State, logs_path: Path) -> tuple[Head, str]:
    """Return a ready head and its address; tries `start_attempts` times, since a busy node may be too slow.

    Raises HeadFailed with the reason of the last try.
    """
    began = time.monotonic()
    left = int(spec["ray"]["start_attempts"])
    while True:
        head, left = Head(spec), left - 1
        try:
            address = head.wait_until_ready()
            state.update(address=address, ready_s=round(time.monotonic() - began, 3))
            return head, address
        except BaseException as err:
            head.stop(logs_path, at_once=not isinstance(err, HeadFailed))
            if left <= 0 or not isinstance(err, HeadFailed):
                raise


def run_command(argv: list[str], head: Head, address: str, state: State) -> tuple[int, bool]:
    """Run the command to its end, passing signals on; return its code, negative for a signal, and whether we were
    told to stop it.

    Whatever it leaves behind is ended too: everything below this process that is not the head's.
    """
    try:
        command = _popen(argv, head.environment(RAY_ADDRESS=address), stdout=None)
    except OSError as err:
        message = f"cannot start {err.filename or argv[0]}: {err.strerror}"
        state.update(failure="crash", message=message)
        _say(message)
        return EXIT_NOT_STARTED, False
    began, clock = time.time(), time.monotonic()
    state.update(command_started_at=began)
    stopped = False
    while command.returncode is None and not stopped:
        number = _next_signal(1.0)
        _reap(command, head.process)
        if number in _RELAYED:
            _notify_handlers(command.pid, number)
        stopped = number in _STOP and command.returncode is None
    ended_at = began + time.monotonic() - clock
    if head.process.returncode is not None:
        state.update(message=f"the Ray head ended with {head.process.returncode} before the command did")
    _end(grace_s=COMMAND_GRACE_S if stopped else LEFTOVER_GRACE_S, spare=head.process.pid)
    _reap(command, head.process)
    if stopped:
        ended_at = began + time.monotonic() - clock
    state.update(command_ended_at=ended_at, returncode=command.returncode)
    return (-signal.SIGKILL if command.returncode is None else command.returncode), stopped


def _head_argv(ray: dict[str, Any], temp_dir: Path) -> list[str]:
    beside = Path(sys.executable).with_name("ray")
    return [
        ray["executable"] or (str(beside) if beside.exists() else "ray"),
        *("start", "--head", "--block", "--disable-usage-stats", "--include-dashboard=false"),
        "--no-monitor",  # the autoscaler, which has no place in an allocation
        # Port 0: the process that listens picks a free one itself, so that no two heads can meet. What is
        # not named here is picked so by default (Ray 2.60).
        *("--port=0", "--dashboard-agent-listen-port=0"),
        *(f"--num-cpus={ray['num_cpus']}", f"--num-gpus={ray['num_gpus']}"),
        *(f"--object-store-memory={ray['object_store_bytes']}", f"--temp-dir={temp_dir}"),
    ]


def _popen(
    argv: list[str], environment: dict[str, str], *, stdout: Any, dies_with_us: bool = False
) -> subprocess.Popen[bytes]:
    def prepare() -> None:
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
        preexec_fn=prepare,
    )


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        sys.stderr.write(f"payload: {text}\n")


def _next_signal(timeout_s: float) -> int | None:
    found = signal.sigtimedwait(_SIGNALS, timeout_s)
    return None if found is None else found.si_signo


def _temp_dir() -> Path:
    room = LONGEST_TEMP_DIR - len(f"/{_TEMP_PREFIX}") - 8
    for root in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"):  # noqa: S108 - mkdtemp is safe there
        if len(root.encode()) <= room:
            _remove_ownerless(Path(root))
            with contextlib.suppress(OSError):
                return Path(tempfile.mkdtemp(prefix=_TEMP_PREFIX, dir=root))
    raise HeadFailed(f"no writable folder for temporary files with a path of at most {room} bytes; set TMPDIR")


def _own(folder: Path) -> None:
    """Hold the folder's lock as long as this process lives; the file shows up under its name already locked."""
    part = folder / f"{_LOCK}.part"
    fcntl.flock(os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), fcntl.LOCK_EX)
    part.rename(folder / _LOCK)


def _remove_ownerless(root: Path) -> None:
    """Remove the folders of heads that were killed with all that could have removed them."""
    for lock in root.glob(f"{_TEMP_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError), lock.open("r+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)


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


def _reap(*processes: subprocess.Popen[bytes]) -> None:
    """Collect whatever has ended, adopted orphans too, and tell those of `processes` their return code."""
    known = {process.pid: process for process in processes}
    with contextlib.suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            if ended[0] in known:
                known[ended[0]].returncode = os.waitstatus_to_exitcode(ended[1])


def _end(*, grace_s: float, spare: int = 0) -> None:
    """TERM all but the tree of `spare`, wait up to `grace_s`, then KILL for up to 20 s until nothing is left."""
    began = time.monotonic()
    for pid in _below(spare) if grace_s else ():
        _send(pid, signal.SIGTERM, signal.SIGCONT)
    while (pids := _below(spare)) and (waited_s := time.monotonic() - began) < grace_s + 20:
        for pid in pids if waited_s >= grace_s else ():
            _send(pid, signal.SIGKILL)
        time.sleep(0.02)


def _notify_handlers(root: int, number: int) -> None:
    """Send a signal to the topmost processes from `root` down that handle it: it would kill any other."""
    children, asked = _children(), [root]
    for pid in asked:
        with contextlib.suppress(OSError, ValueError, IndexError):
            status = Path(f"/proc/{pid}/status").read_bytes()
            if int(status.partition(b"SigCgt:")[2].split()[0], 16) >> (number - 1) & 1:
                _send(pid, number)
            else:
                asked.extend(children.get(pid, ()))


def _send(pid: int, *numbers: int) -> None:
    for number in numbers:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
