"""Calls of SLURM commands: few, bounded in time, and none at all to a controller that is away."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from oellm_bench.errors import SchedulerUnavailable
from oellm_bench.fileio import file_lock
from oellm_bench.shell import Completed, run

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 10.0, 300.0
NO_ACCOUNTING = "accounting storage is disabled"
# Input variables of sbatch(1) that would make another job of what was planned. Account, partition and the like
# are the user's to set and stay.
_OVERRIDING = (
    "SBATCH_ARRAY_INX",
    "SBATCH_JOB_NAME",
    "SBATCH_OUTPUT",
    "SBATCH_ERROR",
    "SBATCH_WAIT",
    "SBATCH_TEST_ONLY",
)


class Budget:
    """A token bucket that all processes of this tool on one state folder share.

    Sites throttle users (slurmctld's rl_enable: bucket 30, 2 a second) and then block them silently inside the
    command; staying below that is politer, and visible.
    """

    def __init__(self, path: Path, *, per_s: float, burst: int) -> None:
        self._path = path
        self._per_s = per_s
        self._burst = burst

    def take(self) -> None:
        """Wait for a token and take it."""
        with file_lock(self._path.with_suffix(".lock")):
            tokens, at = self._read()
            tokens = min(self._burst, tokens + (time.time() - at) * self._per_s)
            if tokens < 1:
                time.sleep((1 - tokens) / self._per_s)
                tokens = 1.0
            self._path.write_text(json.dumps({"tokens": tokens - 1, "at": time.time()}), encoding="ascii")

    def _read(self) -> tuple[float, float]:
        with contextlib.suppress(OSError, ValueError, KeyError):
            document = json.loads(self._path.read_text(encoding="ascii"))
            at = float(document["at"])
            if at <= time.time():  # a clock that was set back must not stop all calls
                return float(document["tokens"]), at
        return float(self._burst), time.time()


class SlurmCalls:
    """Runs SLURM commands with a time limit, within the budget, and holds back while nobody answers."""

    def __init__(self, budget: Budget, *, timeout_s: float) -> None:
        self._budget = budget
        self._timeout_s = timeout_s
        self._pauses: dict[str, tuple[float, float]] = {}
        self.made = 0

    def query(self, argv: Sequence[str]) -> Completed | None:
        """Return what a query printed, None where it failed or was not made because the last ones failed.

        A cluster without accounting says so: that answer comes back with its exit code.
        """
        until, pause = self._pauses.get(argv[0], (0.0, 0.0))
        if time.monotonic() < until:
            return None
        done = self.call(argv)
        if done.returncode == 0:
            self._pauses.pop(argv[0], None)
            return done
        if NO_ACCOUNTING in done.stderr:
            return done  # an answer, and a final one
        pause = min(max(2 * pause, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        self._pauses[argv[0]] = (time.monotonic() + pause, pause)
        _log.warning("%s; it is left alone for %.0f s", failure_text(done), pause)
        return None

    def call(self, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> Completed:
        """Run one command, times in UTC. Raises SchedulerUnavailable where it is not installed."""
        self._budget.take()
        self.made += 1
        inherited = {name: value for name, value in os.environ.items() if name not in _OVERRIDING}
        fixed = {"SLURM_TIME_FORMAT": "standard"}
        if argv[0] in ("squeue", "sacct"):
            fixed["TZ"] = "UTC"
        try:
            return run(argv, timeout_s=self._timeout_s, environment={**inherited, **(environment or {}), **fixed})
        except FileNotFoundError as err:
            fix = "run this where SLURM's commands are on PATH, or use the embedded scheduler (--fake)"
            raise SchedulerUnavailable(f"{argv[0]} is not installed here; {fix}") from err


def failure_text(done: Completed) -> str:
    """Return a failed command's own words on one line."""
    said = " ".join((done.stderr or done.stdout).split())
    return f"{done.argv[0]}: {said or ('out of time' if done.timed_out else f'exit code {done.returncode}')}"
