"""Watch one attempt: `python -m oellm_bench.observer`, told by a JSON document on stdin (`Task`).

TERM: a last sample and heartbeat, and the end. QUIT: the same, and the stacks of the processes before that.
Ended by the kernel where the runner is killed.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

from oellm_bench.fileio import is_there
from oellm_bench.observer.gpu_thread import GpuThread
from oellm_bench.observer.installed import Installed
from oellm_bench.observer.machine import describe
from oellm_bench.observer.recorder import Recorder
from oellm_bench.observer.task import Task

_PACKAGES_LIMIT_S, _STACKS_LIMIT_S = 60.0, 7.0
_ENDS = (signal.SIGTERM, signal.SIGQUIT)


def main() -> int:
    """Watch until TERM."""
    signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    task = Task(**json.load(sys.stdin))
    installed = Installed(task)
    gpus = GpuThread(os.environ)  # after the start of another program: from here on there are two threads
    recorder = Recorder(task, gpus)
    recorder.write_machine(describe(task, os.environ, gpus.describe()))
    started = time.monotonic()
    found = None
    while found is None:
        if task.stop_order and is_there(Path(task.stop_order)):
            recorder.save_stacks(_STACKS_LIMIT_S)
        recorder.beat()
        if installed.is_running:
            # Wanted soon, and most commands that fail do so at once.
            found = signal.sigtimedwait(_ENDS, min(task.interval_s, 0.25))
            installed.look(limit_s=started + _PACKAGES_LIMIT_S - time.monotonic())
        else:
            found = signal.sigtimedwait(_ENDS, task.interval_s)
    if found.si_signo == signal.SIGQUIT:
        recorder.save_stacks(_STACKS_LIMIT_S)
    recorder.beat()
    installed.finish(_PACKAGES_LIMIT_S)
    return 0


if __name__ == "__main__":
    sys.exit(main())
