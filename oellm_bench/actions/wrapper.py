"""Run one try of an action and write down how it ended, whoever is still there to see it.

    python -m oellm_bench.actions.wrapper FOLDER TIMEOUT_S ARGV...

The monitor may die while an action runs. The wrapper goes on, and FOLDER tells the next monitor what became of
it: `lock` is held while it runs, `started` exists once it has begun, `result.json` when it has ended.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from oellm_bench.proctree import become_subreaper, die_with_parent, kill_descendants


def main(argv: list[str]) -> int:
    """Run the command unless another wrapper has begun this very try."""
    folder, timeout_s, command = Path(argv[0]), float(argv[1]), argv[2:]
    with (folder / "lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            (folder / "started").touch(exist_ok=False)
        except FileExistsError:
            return 0
        message = _run(command, timeout_s)
        part = folder / "result.part"
        part.write_text(json.dumps({"ok": not message, "message": message}), encoding="utf-8")
        part.replace(folder / "result.json")
    return 0


def _run(command: list[str], timeout_s: float) -> str:
    """Return what went wrong, empty for nothing."""
    with contextlib.suppress(OSError):
        become_subreaper()
    try:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_end_with_wrapper
        )
    except OSError as err:
        return f"cannot be started: {err}"
    try:
        code = process.wait(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        kill_descendants(os.getpid(), grace_s=5.0)
        return f"out of time after {timeout_s:g} s"
    return "" if code == 0 else f"exit code {code}"


def _end_with_wrapper() -> None:
    # A try whose wrapper was killed counts as ended: its command must not meet the next one.
    with contextlib.suppress(OSError):
        die_with_parent(signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
