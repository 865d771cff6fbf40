"""Have an attempt watched from beside, and say in the end what it used."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from oellm_bench import proctree
from oellm_bench.fileio import is_there
from oellm_bench.job.attempt import Attempt
from oellm_bench.monitoring.heartbeat import read_heartbeat, used

_LAST_LISTS_S = 20.0  # for what is installed to be listed, where the command was faster than that
_LOOK_S = 5.0  # for one last look
_STACKS_S = 8.0  # SLURM gives 30 s between TERM and KILL, and the command needs its own
_AT_ONCE_S = 1.0
_NICENESS = 10  # the benchmark comes first


class Observation:
    """The observer of one attempt, from its start to its end; without one where nobody wants it."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._process: subprocess.Popen[str] | None = None
        self._own_cpu_s = 0.0
        if attempt.entry.capture.enabled:
            with contextlib.suppress(OSError):  # no fork, no capture: no reason not to run
                self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "oellm_bench.observer"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            preexec_fn=_step_back,  # safe: this process has one thread
        )
        assert self._process.stdin is not None
        with self._process.stdin as stream, contextlib.suppress(BrokenPipeError):
            json.dump(asdict(self._attempt.observer_task(os.getpid())), stream)

    def end(self, *, stopped: bool, stuck: bool) -> None:
        """Let it take a last look. `stuck`: it saves the processes' stacks first, so they have to be there still.

        `stopped`: there is little time, the command is to be ended next.
        """
        if self._process is None or self._is_over():
            return
        limit_s = _LAST_LISTS_S if self._lists_are_due() else _LOOK_S
        if stopped:
            limit_s = _STACKS_S if stuck else _AT_ONCE_S
        proctree.send(self._process.pid, signal.SIGQUIT if stuck else signal.SIGTERM)
        if not self._wait(limit_s):
            for pid in (*proctree.descendants(self._process.pid), self._process.pid):
                proctree.send(pid, signal.SIGKILL)
            self._wait(_AT_ONCE_S)

    def used(self) -> dict[str, Any]:
        """Return what the attempt used, as far as it was seen; once the command is over, and before anything else."""
        if self._process is None:
            return {}
        seen = used(read_heartbeat(self._attempt.files.heartbeat, self._attempt.number))
        return {**seen, "cpu_s": round(max(_cpu_of_children_s() - self._own_cpu_s, seen.get("cpu_s", 0.0)), 3)}

    def _lists_are_due(self) -> bool:
        """Tell whether what is installed is still to be listed: the command may have been faster than that."""
        return self._attempt.entry.capture.packages and not is_there(self._attempt.layout.artifacts / "python.json")

    def _wait(self, limit_s: float) -> bool:
        """Wait for its end; tells whether that has come."""
        deadline = time.monotonic() + limit_s
        while not self._is_over():
            if (left_s := deadline - time.monotonic()) <= 0:
                return False
            signal.sigtimedwait((signal.SIGCHLD,), left_s)
        return True

    def _is_over(self) -> bool:
        assert self._process is not None
        try:
            ended, _, usage = os.wait4(self._process.pid, os.WNOHANG)
        except ChildProcessError:  # collected along with others
            return True
        if ended:
            self._own_cpu_s = usage.ru_utime + usage.ru_stime
        return ended != 0


def _step_back() -> None:
    """Leave the processors to the command where it wants them, and end with the runner."""
    proctree.die_with_parent(signal.SIGKILL)
    os.nice(_NICENESS)
    # Where sessions share the processors among each other, nice counts within ours alone. Source: sched(7).
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text(str(_NICENESS), encoding="ascii")


def _cpu_of_children_s() -> float:
    """Return the CPU time of all that has ended below this process and was waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime
