"""Which process is which: ids that outlive the reuse of process ids, and marks in environments.

Source: proc_pid_stat(5), proc_pid_environ(5).
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

from oellm_bench.proctree import descendants, send

MARK = "OELLM_BENCH_EMBEDDED_STEP"  # in the environment of every process of a job
_KILL_LIMIT_S = 20.0  # KILL acts at once unless a process hangs in the kernel
_PAUSE_S = 0.01


def identity(pid: int) -> dict[str, Any]:
    """Return what tells a process from every other one, ever. Raises OSError for one that is gone."""
    return {"pid": pid, "start_ticks": _start_ticks(pid), "boot_id": _boot_id()}


def is_alive(who: dict[str, Any]) -> bool:
    """Tell whether the process of an `identity` still works; a zombie does not."""
    try:
        return identity(who["pid"]) == who
    except OSError:
        return False


def kill_marked(mark: str) -> None:
    """KILL every process with this mark, and everything below them, until none is left.

    For a job whose supervisor is gone. One that has no mark and no marked ancestor any more is missed.
    """
    deadline = time.monotonic() + _KILL_LIMIT_S
    while time.monotonic() < deadline:
        left = marked(mark)
        left += [below for pid in left for below in descendants(pid)]
        if not left:
            return
        for pid in left:
            send(pid, signal.SIGKILL)
        time.sleep(_PAUSE_S)


def marked(mark: str) -> list[int]:
    """Return the living processes whose environment has this mark, except the one that asks."""
    wanted = f"{MARK}={mark}".encode()
    found = []
    for name in os.listdir("/proc"):  # noqa: PTH208 - ten thousand Path objects a look would be waste
        if name.isdigit() and int(name) != os.getpid():
            with contextlib.suppress(OSError):  # gone meanwhile, or another user's
                if wanted in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                    found.append(int(name))
    return found


def _start_ticks(pid: int) -> int:
    """Return field 22 of /proc/PID/stat; a zombie counts as gone (ProcessLookupError)."""
    stat = Path(f"/proc/{pid}/stat").read_bytes()
    fields = stat[stat.rindex(b")") + 2 :].split()
    if fields[0] in (b"Z", b"X"):
        raise ProcessLookupError(pid)
    return int(fields[19])


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
