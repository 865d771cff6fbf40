"""What scancel and scontrol change: jobs are cancelled, run again, released."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection

from oellm_bench.core.job import JobId, JobState
from oellm_bench.errors import SchedulerError
from oellm_bench.schedulers.embedded.stops import Ending, Stop
from oellm_bench.schedulers.embedded.store import Job, jobs_called, read_submission, update_job
from oellm_bench.schedulers.embedded.waiting_line import finish, put_back

_CANCELLED = Ending(state=JobState.CANCELLED, reason="None")


def cancel(connection: sqlite3.Connection, job_ids: Collection[JobId], now: float) -> None:
    """End waiting jobs at once and have running ones ended; call in a transaction.

    Jobs that have ended and ids that nobody knows are passed over, as scancel does.
    """
    for job_id in job_ids:
        for job in jobs_called(connection, job_id):
            if job.ended_at is None:
                _cancel(connection, job, now)


def requeue(connection: sqlite3.Connection, job_id: JobId, *, eligible_at: float, forgotten_at: float) -> None:
    """Have jobs run again under their ids; call in a transaction.

    eligible_at, forgotten_at: epoch seconds; a job that ended before `forgotten_at` is no longer known.
    Raises SchedulerError with scontrol's words.
    """
    jobs = jobs_called(connection, job_id)
    if not any(job.ended_at is None or job.ended_at > forgotten_at for job in jobs):
        raise SchedulerError(f"scontrol: error: Invalid job id specified for job {job_id}")
    if not read_submission(connection, jobs[0].id)[0].requeue:
        raise SchedulerError(f"scontrol: error: Requested operation is presently disabled for job {job_id}")
    for job in jobs:
        if job.ended_at is not None:
            put_back(connection, job, eligible_at)
        elif job.state == JobState.RUNNING.value and not job.stop:
            update_job(connection, job.raw_id, stop=Stop.REQUEUE.value)


def release(connection: sqlite3.Connection, job_id: JobId) -> None:
    """Let held jobs start; call in a transaction."""
    for job in jobs_called(connection, job_id):
        update_job(connection, job.raw_id, held=0)


def _cancel(connection: sqlite3.Connection, job: Job, now: float) -> None:
    user = str(os.getuid())
    if job.state == JobState.PENDING.value:
        finish(connection, job._replace(cancelled_by=user), _CANCELLED, now)
        return
    update_job(connection, job.raw_id, cancelled_by=user)
    if not job.stop:
        update_job(connection, job.raw_id, stop=Stop.CANCEL.value)
