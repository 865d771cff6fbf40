"""SLURM through its commands: sbatch, squeue, sacct, scancel, scontrol."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from compoconf import register

from oellm_bench.core.job import JobId, Snapshot
from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.errors import SchedulerUnavailable, SubmissionRejected, SubmissionUnclear
from oellm_bench.schedulers import slurm_parse
from oellm_bench.schedulers.base import Limits, Scheduler, SubmitRequest, index_ranges
from oellm_bench.shell import Completed, run

# Refusals that asking again does not change. Source: slurm/slurm_errno.c, 22.05 to 25.05, as sbatch prints them.
_REFUSALS = (
    "Invalid account",
    "Invalid partition",
    "invalid partition",
    "Invalid qos",
    "Invalid generic resource",
    "Requested node configuration is not available",
    "Requested time limit is invalid",
    "Node count specification invalid",
    "Invalid job array specification",
    "Invalid feature specification",
    "Unable to open file",
    "does not look like a batch script",
    "unrecognized option",
    "Access/permission denied",
)
# Never got as far as a submission.
_NOT_SENT = ("Could not establish a configuration source", "Unable to contact slurm controller")


@dataclass(frozen=True, kw_only=True)
class SlurmConfig(PluginConfig):
    """The SLURM commands on PATH."""

    timeout_s: float = option("how long one SLURM command may take", 120.0, unit="s")


@register
class SlurmClient(Scheduler):
    """A real cluster."""

    config: SlurmConfig

    def __init__(self, config: SlurmConfig, folder: Path) -> None:
        self.config = config

    def submit(self, request: SubmitRequest) -> JobId:
        """Call sbatch once; what its failure means is read from its message."""
        done = self._run(request.sbatch_argv(), environment={**os.environ, **request.environment})
        if done.returncode == 0:
            try:
                return JobId.parse(done.stdout.strip().splitlines()[-1])
            except (ValueError, IndexError) as err:
                raise SubmissionUnclear(f"sbatch answered {done.stdout!r}, which is no job id") from err
        message = " ".join((done.stderr or done.stdout).split())
        if any(text in message for text in _NOT_SENT):
            raise SchedulerUnavailable(f"sbatch: {message}")
        if any(text in message for text in _REFUSALS):
            raise SubmissionRejected(f"sbatch refused {request.script}: {message}")
        raise SubmissionUnclear(f"sbatch gave no clear answer: {message or 'out of time'}")

    def snapshot(self, prefix: str, since: float) -> Snapshot:
        """Ask squeue for the living and sacct for the ended, once each."""
        queue = self._try(slurm_parse.squeue_argv())
        accounting = self._try(slurm_parse.sacct_argv(since))
        living = slurm_parse.parse_squeue(queue.stdout, prefix) if queue else []
        ended = slurm_parse.parse_sacct(accounting.stdout, prefix) if accounting else []
        known = {row.job_id for row in living}
        return Snapshot(
            taken_at=time.time(),
            jobs=(*living, *(row for row in ended if row.job_id not in known)),
            queue_answered=queue is not None,
            accounting_answered=accounting is not None,
            calls=2,
        )

    def cancel(self, job_ids: Collection[JobId]) -> None:
        """Call scancel; array tasks of one job go together."""
        done = self._run(("scancel", *_cancel_arguments(job_ids)))
        if done.returncode != 0:
            raise SchedulerUnavailable(f"scancel: {' '.join(done.stderr.split()) or 'out of time'}")

    def limits(self) -> Limits:
        """Read the cluster's configuration."""
        done = self._run(("scontrol", "show", "config"))
        if done.returncode != 0:
            raise SchedulerUnavailable(f"scontrol: {' '.join(done.stderr.split()) or 'out of time'}")
        return Limits(max_array_size=slurm_parse.max_array_size(done.stdout))

    def _try(self, argv: Sequence[str]) -> Completed | None:
        try:
            done = self._run(argv)
        except SchedulerUnavailable:
            return None
        return done if done.returncode == 0 else None

    def _run(self, argv: Sequence[str], environment: dict[str, str] | None = None) -> Completed:
        """Run a SLURM command with times in UTC. Raises SchedulerUnavailable where it is not installed."""
        base = environment if environment is not None else dict(os.environ)
        fixed = {"SLURM_TIME_FORMAT": "standard"}
        if argv[0] in ("squeue", "sacct"):
            fixed["TZ"] = "UTC"
        try:
            return run(argv, timeout_s=self.config.timeout_s, environment={**base, **fixed})
        except FileNotFoundError as err:
            fix = "run this where SLURM's commands are on PATH, or use the embedded scheduler (--fake)"
            raise SchedulerUnavailable(f"{argv[0]} is not installed here; {fix}") from err


def _cancel_arguments(job_ids: Collection[JobId]) -> list[str]:
    """Return ids as scancel takes them: tasks of one array as `123_[0-3,7]`."""
    tasks: dict[int, list[int]] = {}
    for job_id in job_ids:
        tasks.setdefault(job_id.job, []).extend([] if job_id.task is None else [job_id.task])
    return [f"{job}_[{index_ranges(indices)}]" if indices else str(job) for job, indices in tasks.items()]
