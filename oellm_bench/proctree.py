"""Process trees on Linux: adopt orphans, list what lives below a process, end all of it."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # linux/prctl.h
_LIBC = ctypes.CDLL(None, use_errno=True)
_KILL_LIMIT_S = 20.0  # KILL acts at once unless a process hangs in the kernel (state D: dead file system)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.002, 0.05


def become_subreaper() -> None:
    """Make orphans below this process its children, so that no setsid or double fork leaves the tree.

    Raises OSError where the kernel refuses. Not inherited by children. Source: prctl(2), Linux 3.4.
    """
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: int) -> None:
    """Have the kernel send this process a signal when its parent ends; for `preexec_fn`, survives exec.

    Raises OSError where the kernel refuses. Source: prctl(2), PR_SET_PDEATHSIG.
    """
    _prctl(_PR_SET_PDEATHSIG, number)


def descendants(pid: int) -> list[int]:
    """Return the living processes below `pid`, parents first; zombies and `pid` itself are left out."""
    children: dict[int, list[int]] = {}
    dead = set()
    for child, (parent, alive) in _processes().items():
        children.setdefault(parent, []).append(child)
        if not alive:
            dead.add(child)
    found = list(children.get(pid, ()))
    for member in found:  # grows while it is walked: breadth first
        found.extend(children.get(member, ()))
    return [member for member in found if member not in dead]


def catches(pid: int, number: int) -> bool:
    """Tell whether a process has a handler for a signal; False for one that is gone."""
    return _in_mask(pid, number, b"SigCgt:")


def waits_for(pid: int, number: int) -> bool:
    """Tell whether a process takes a signal without a handler: srun blocks those that it hands on, and waits for them.

    Others block signals for a moment only, a shell while it forks, and would die of one that came then.
    """
    with contextlib.suppress(OSError):
        is_srun = Path(f"/proc/{pid}/comm").read_bytes().strip() == b"srun"
        return is_srun and _in_mask(pid, number, b"SigBlk:")
    return False


def _in_mask(pid: int, number: int, mask: bytes) -> bool:
    """Source: proc_pid_status(5), masks whose bit 0 is signal 1."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_bytes().splitlines():
            if line.startswith(mask):
                return bool(int(line.split()[1], 16) >> (number - 1) & 1)
    return False


def notify_handlers(pid: int, number: int) -> list[int]:
    """Send a signal to the topmost processes of the tree of `pid`, itself included, that handle it.

    A process without a handler would die of SIGUSR1, so it is passed over and its children are asked; one
    with a handler is trusted to tell its own (apptainer and srun do). Returns who got it.
    """
    children: dict[int, list[int]] = {}
    for child, (parent, alive) in _processes().items():
        if alive:
            children.setdefault(parent, []).append(child)
    asked, told = [pid], []
    for member in asked:
        if (catches(member, number) or waits_for(member, number)) and send(member, number):
            told.append(member)
        else:
            asked.extend(children.get(member, ()))
    return told


def send(pid: int, number: int) -> bool:
    """Send a signal; False where the process is gone or is not ours."""
    try:
        os.kill(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def kill_descendants(pid: int, *, grace_s: float) -> list[int]:
    """End everything below `pid`: TERM, up to `grace_s` to comply, then KILL until nothing is left.

    Returns the processes that even KILL did not end within 20 s, as a rule none. Reaps nothing: zombies
    that are children of this process are left to `reap`. Orphans are found only below a subreaper.
    """
    _send_all(descendants(pid), signal.SIGTERM)
    left = _wait_until_gone(pid, grace_s, again=None)
    if not left:
        return []
    return _wait_until_gone(pid, _KILL_LIMIT_S, again=signal.SIGKILL)


def has_children() -> bool:
    """Tell whether this process has any child left: below a subreaper the only sure sign that a tree is gone.

    A process that forks and ends faster than /proc can be read is in no list of processes.
    """
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def kill_children() -> None:
    """Send KILL to this process's children, as fast as they can be found."""
    with contextlib.suppress(OSError):
        for pid in Path("/proc/self/task", str(os.getpid()), "children").read_bytes().split():
            send(int(pid), signal.SIGKILL)


def reap() -> dict[int, int]:
    """Collect every child that has ended; returns return codes by pid (negative: that signal)."""
    ended: dict[int, int] = {}
    with contextlib.suppress(ChildProcessError):
        while (found := os.waitpid(-1, os.WNOHANG))[0]:
            ended[found[0]] = os.waitstatus_to_exitcode(found[1])
    return ended


def _wait_until_gone(pid: int, limit_s: float, *, again: int | None) -> list[int]:
    """Wait for the tree below `pid` to empty; `again` is sent to whoever is there at each look."""
    deadline = time.monotonic() + limit_s
    pause_s = _FIRST_PAUSE_S
    while left := descendants(pid):
        if time.monotonic() >= deadline:
            return left
        if again is not None:
            _send_all(left, again)
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
    return []


def _send_all(pids: list[int], number: int) -> None:
    for pid in pids:
        # A stopped process acts on TERM only once it is continued.
        if send(pid, number) and number == signal.SIGTERM:
            send(pid, signal.SIGCONT)


def _prctl(option: int, value: int) -> None:
    if _LIBC.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def _processes() -> dict[int, tuple[int, bool]]:
    """Return parent and life of every process that can be seen."""
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208 - ten thousand Path objects a look would be waste
        if name.isdigit():
            # A process may end between listdir and read: ENOENT on open, ESRCH on read.
            with contextlib.suppress(OSError, ValueError, IndexError):
                found[int(name)] = _parent_and_life(Path(f"/proc/{name}/stat").read_bytes())
    return found


def _parent_and_life(stat: bytes) -> tuple[int, bool]:
    """Read state, ppid and num_threads of proc_pid_stat(5); the name in it may hold ')' and blanks."""
    fields = stat[stat.rindex(b")") + 2 :].split()
    # A zombie with more than one thread has only lost its first thread and still works.
    alive = fields[0] not in (b"Z", b"X", b"x") or int(fields[17]) > 1
    return int(fields[1]), alive
