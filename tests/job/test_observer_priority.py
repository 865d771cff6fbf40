from __future__ import annotations

import contextlib
import os
from pathlib import Path

from live_job import Job, wait_for


def observer(job: Job) -> int | None:
    for pid in job.processes():
        with contextlib.suppress(OSError):
            if b"oellm_bench.observer" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return pid
    return None


def test_observer_leaves_the_processors_to_the_command(job: Job) -> None:
    job.plan("sleep", "60")
    process = job.start()
    pid = wait_for(lambda: observer(job), "the observer")
    wait_for(lambda: os.getpriority(os.PRIO_PROCESS, pid) == 10, "its low priority")
    group = Path(f"/proc/{pid}/autogroup")
    if group.exists():  # the kernel may be built without
        wait_for(lambda: group.read_text().split()[-1] == "10", "the low priority of its session")
    process.terminate()
    process.communicate(timeout=30)
