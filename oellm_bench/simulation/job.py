"""One job of the simulated cluster."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from oellm_bench.core.job import JobId, JobState, JobStatus
from oellm_bench.core.plan import PlannedEntry
from oellm_bench.schedulers.base import SubmitRequest
from oellm_bench.simulation.life import Account, Life
from oellm_bench.units import parse_memory, parse_slurm_time

_SIGKILL = 9


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a job asks for. `memory`: as a multiple of what its entry asks for."""

    width: int
    gpus: int
    timeout_s: float
    limit_s: float
    memory: float = 1.0
    avoided: frozenset[int] = frozenset()

    @property
    def shape(self) -> tuple[int, int, frozenset[int]]:
        """What decides whether there is room for it."""
        return (self.width, self.gpus, self.avoided)


@dataclass(kw_only=True, eq=False)
class SimulatedJob:
    """One run of a job or an array task, and all that is known of it.

    `begun_s`: work that runs of its entry before it have done. `before`: the run that ended before it was requeued.
    """

    job_id: JobId
    token: str
    entry: PlannedEntry
    attempt: int
    asked: Asked
    submitted_at: float
    restarts: int = 0
    before: SimulatedJob | None = None
    waits_for: set[JobId] = field(default_factory=set)
    reason: str = "Priority"
    state: JobState = JobState.PENDING
    nodes: tuple[int, ...] = ()
    node_names: str = ""
    started_at: float | None = None
    ended_at: float | None = None
    begun_s: float = 0.0
    life: Life = field(default_factory=lambda: Life(cause="", lasts_s=math.inf))
    cause: str = ""
    account: Account = field(default_factory=lambda: Account(startup_s=0.0, kept_s=0.0, lost_s=0.0, hung_s=0.0))
    _row: JobStatus | None = None

    @property
    def gpus(self) -> int:
        """All of its GPUs, over all its nodes."""
        return self.asked.width * self.asked.gpus

    @property
    def hangs_at(self) -> float:
        """From when on it does nothing (epoch seconds), infinity where it never does so."""
        return (self.started_at or 0.0) + self.life.hangs_s

    def change(self, state: JobState, reason: str = "None") -> None:
        """Take another state."""
        self.state, self.reason, self._row = state, reason, None

    def row(self) -> JobStatus:
        """Return what the queue says of it."""
        if self._row is None:
            self._row = self._status(self.state, self.started_at, self.ended_at)
        return self._row

    def again(self, now: float) -> SimulatedJob:
        """Return the run that follows once the job is back in the queue."""
        return SimulatedJob(
            job_id=self.job_id,
            token=self.token,
            entry=self.entry,
            attempt=self.attempt,
            asked=self.asked,
            submitted_at=now,
            restarts=self.restarts + 1,
            before=self,
        )

    def row_at(self, moment: float) -> JobStatus | None:
        """Return what accounting knew of it at an earlier moment, None where that was nothing yet."""
        if self.ended_at is not None and self.ended_at <= moment:
            return self.row()
        if self.submitted_at > moment:
            return None if self.before is None else self.before.row_at(moment)
        if self.started_at is None or self.started_at > moment:
            return self._status(JobState.PENDING, None, None)
        return self._status(JobState.RUNNING, self.started_at, None)

    def _status(self, state: JobState, started_at: float | None, ended_at: float | None) -> JobStatus:
        failed = state is JobState.FAILED
        killed = state in (JobState.OUT_OF_MEMORY, JobState.NODE_FAIL)
        return JobStatus(
            job_id=self.job_id,
            name=self.token,
            state=state,
            exit_code=(1 if failed else 0) if ended_at is not None else None,
            signal=_SIGKILL if killed else None,
            reason=self.reason,
            nodes=self.node_names if started_at is not None else "",
            restarts=self.restarts,
            submitted_at=self.submitted_at,
            started_at=started_at,
            ended_at=ended_at,
            time_limit_s=round(self.asked.limit_s),
        )


def read_request(request: SubmitRequest, entry: PlannedEntry, gpus_per_node: int, avoided: frozenset[int]) -> Asked:
    """Return what a submission asks for, for one of its tasks; whole nodes where no GPU is asked for."""
    resources, options = entry.resources, request.options
    limit_s = parse_slurm_time(options["time"]) if "time" in options else resources.walltime_s
    return Asked(
        width=resources.nodes,
        gpus=math.ceil(resources.gpus / resources.nodes) or gpus_per_node,
        timeout_s=float(request.arguments[2]),
        limit_s=float(limit_s or math.inf),
        memory=_memory(options, entry.memory),
        avoided=avoided,
    )


def _memory(options: Mapping[str, str], memory: str) -> float:
    name, _, planned = memory.partition("=")
    return parse_memory(options[name]) / parse_memory(planned) if name in options else 1.0
