"""What queue and accounting of the simulated cluster say, the one for some time only, the other some time later."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from oellm_bench.core.job import JobId, JobStatus
from oellm_bench.simulation.job import SimulatedJob
from oellm_bench.simulation.settings import ControllerModel


class Records:
    """The latest run of each job."""

    def __init__(self, model: ControllerModel) -> None:
        self._model = model
        self._changing: dict[JobId, SimulatedJob] = {}  # of these accounting has yet to learn something
        self._settled: dict[JobId, JobStatus] = {}

    def add(self, job: SimulatedJob) -> None:
        """Take in a run, in place of an earlier one of the same job."""
        self._settled.pop(job.job_id, None)
        self._changing[job.job_id] = job

    def remembers(self, job: SimulatedJob, now: float) -> bool:
        """Tell whether the controller still knows a job."""
        return job.ended_at is None or now - job.ended_at < self._model.min_job_age_s

    def rows(self, now: float) -> Iterator[JobStatus]:
        """Yield a row per job: the queue's, and of those that it lists no more what accounting knows by now."""
        yield from self._settled.values()
        settled = []
        for job in self._changing.values():
            if self.remembers(job, now):
                yield job.row()
                continue
            moment = now - self._model.accounting_lag_s
            known = job.row_at(moment)
            if known is not None:
                known = replace(known, restarts=0) if known.restarts else known  # accounting does not count them
                yield known
                if job.ended_at is not None and job.ended_at <= moment:
                    settled.append(known)
        for row in settled:
            self._settled[row.job_id] = row
            del self._changing[row.job_id]
