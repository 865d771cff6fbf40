"""Decide, from the database, what waits for what and what can start."""

from __future__ import annotations

import itertools
import json
import math
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator

from oellm_bench.core.job import JobId, JobState
from oellm_bench.schedulers.embedded.dependencies import Fate, Verdict, judge, parse_dependency
from oellm_bench.schedulers.embedded.placement import Allocation, Holding, Shape, Waiting, place
from oellm_bench.schedulers.embedded.spec import JobSpec
from oellm_bench.schedulers.embedded.stops import Ending
from oellm_bench.schedulers.embedded.store import (
    Job,
    jobs_called,
    read_submission,
    select_jobs,
    update_job,
)

_NEVER = "DependencyNeverSatisfied"
_DEPENDENCY_GONE = Ending(state=JobState.CANCELLED, reason=_NEVER)


class WaitingLine:
    """One controller's view of the waiting jobs; keeps what never changes of a submission."""

    def __init__(self, connection: sqlite3.Connection, shape: Shape) -> None:
        self._connection = connection
        self._shape = shape
        self._specs: dict[int, JobSpec] = {}

    def start_what_fits(self, down: Collection[str], now: float) -> list[int]:
        """Mark the jobs that start now as running and give the others their reasons; call in a transaction.

        Returns the raw ids of those to start.
        """
        running = select_jobs(self._connection, "ended_at IS NULL AND state = 'RUNNING'")
        pending = select_jobs(self._connection, "ended_at IS NULL AND state = 'PENDING' ORDER BY id, task")
        jobs = {job.raw_id: job for job in pending}
        reasons: dict[int, str] = {}
        ready = [job for job in self._eligible(pending, now, reasons)]
        ready = self._throttled(ready, running, reasons)
        plan = place(self._shape, [self._waiting(job) for job in ready], self._holdings(running), down, now)
        for raw_id, allocation in plan.starts.items():
            self._start(raw_id, allocation, now)
        for raw_id, reason in {**reasons, **plan.reasons}.items():
            if jobs[raw_id].reason != reason:
                update_job(self._connection, raw_id, reason=reason)
        return list(plan.starts)

    def spec(self, job: int) -> JobSpec:
        """Return what was submitted."""
        if job not in self._specs:
            self._specs[job] = read_submission(self._connection, job)[0]
        return self._specs[job]

    def next_event(self, now: float) -> float:
        """Return when (epoch seconds) the passing of time alone can let a job start; infinity for never."""
        begin = self._connection.execute(
            "SELECT min(eligible_at) FROM job WHERE ended_at IS NULL AND state = 'PENDING' AND eligible_at > ?",
            (now,),
        ).fetchone()[0]
        delayed = self._connection.execute(
            "SELECT 1 FROM job WHERE ended_at IS NULL AND dependency LIKE '%+%' LIMIT 1"
        ).fetchone()
        return min(math.inf if begin is None else begin, math.inf if delayed is None else now + 1)

    def _eligible(self, pending: Iterable[Job], now: float, reasons: dict[int, str]) -> Iterator[Job]:
        """Yield the jobs that wait for nothing but room."""
        for job in pending:
            if job.held:
                reasons[job.raw_id] = "JobHeldUser"
            elif job.eligible_at > now:
                reasons[job.raw_id] = "BeginTime"
            elif job.reason == _NEVER:
                continue
            elif not job.dependency or self._is_released(job, now, reasons):
                yield job

    def _is_released(self, job: Job, now: float, reasons: dict[int, str]) -> bool:
        verdict = judge(
            parse_dependency(job.dependency),
            self._fates,
            task=job.task,
            is_first_of_name=lambda: self._is_first_of_name(job),
            now=now,
        )
        if verdict is Verdict.SATISFIED:
            update_job(self._connection, job.raw_id, dependency="")
            return True
        if verdict is Verdict.WAITING:
            reasons[job.raw_id] = "Dependency"
        elif self.spec(job.id).options.get("kill-on-invalid-dep") == "yes":
            finish(self._connection, job, _DEPENDENCY_GONE, now)
        else:
            reasons[job.raw_id] = _NEVER
        return False

    def _fates(self, job_id: JobId) -> list[Fate]:
        jobs = jobs_called(self._connection, job_id)
        return [Fate(state=job.job_state, started_at=job.started_at) for job in jobs]

    def _is_first_of_name(self, job: Job) -> bool:
        row = self._connection.execute(
            "SELECT 1 FROM job WHERE ended_at IS NULL AND name = ? AND id < ? LIMIT 1", (job.name, job.id)
        ).fetchone()
        return row is None

    def _throttled(self, ready: Iterable[Job], running: Iterable[Job], reasons: dict[int, str]) -> list[Job]:
        """Leave out tasks above the `%N` of their array."""
        active = Counter(job.id for job in running if job.task is not None)
        allowed = []
        for job in ready:
            limit = self.spec(job.id).throttle if job.task is not None else 0
            if limit and active[job.id] >= limit:
                reasons[job.raw_id] = "JobArrayTaskLimit"
                continue
            active[job.id] += 1
            allowed.append(job)
        return allowed

    def _waiting(self, job: Job) -> Waiting:
        return Waiting(raw_id=job.raw_id, demand=self.spec(job.id).demand, time_limit_s=job.time_limit_s)

    def _holdings(self, running: Iterable[Job]) -> Iterator[Holding]:
        for job in running:
            ends_at = math.inf if job.time_limit_s is None else (job.started_at or 0) + job.time_limit_s
            yield Holding(demand=self.spec(job.id).demand, allocation=json.loads(job.allocation), ends_at=ends_at)

    def _start(self, raw_id: int, allocation: Allocation, now: float) -> None:
        update_job(
            self._connection,
            raw_id,
            state=JobState.RUNNING.value,
            reason="None",
            stop="",
            started_at=now,
            allocation=json.dumps(allocation),
            nodes=node_list(list(allocation)),
        )


def finish(connection: sqlite3.Connection, job: Job, end: Ending, ended_at: float) -> None:
    """Write the end of a job."""
    update_job(
        connection,
        job.raw_id,
        state=end.state.value,
        reason=end.reason,
        stop="",
        exit_code=end.exit_code,
        signal=end.signal,
        ended_at=ended_at,
        cancelled_by=job.cancelled_by if end.state is JobState.CANCELLED else "",
    )


def put_back(connection: sqlite3.Connection, job: Job, eligible_at: float) -> None:
    """Put a job back into the queue, to run again under its id."""
    update_job(
        connection,
        job.raw_id,
        state=JobState.PENDING.value,
        reason="BeginTime",
        stop="",
        cancelled_by="",
        restarts=job.restarts + 1,
        eligible_at=eligible_at,
        started_at=None,
        ended_at=None,
        exit_code=None,
        signal=None,
        nodes="",
        allocation="{}",
    )


def node_list(names: list[str]) -> str:
    """Return Slurm's short form of `node1 node2 node4`: `node[1-2,4]`."""
    numbers = sorted(int(name.removeprefix("node")) for name in names)
    if len(numbers) == 1:
        return f"node{numbers[0]}"
    runs = []
    for _, group in itertools.groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        runs.append(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}")
    return f"node[{','.join(runs)}]"
