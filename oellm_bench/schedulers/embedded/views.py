"""What squeue and sacct would show of the database."""

from __future__ import annotations

import dataclasses
import sqlite3
from collections.abc import Iterable

from oellm_bench.core.job import JobId, JobState, JobStatus
from oellm_bench.schedulers.embedded.store import Job, select_jobs


def statuses(connection: sqlite3.Connection, prefix: str, since: float) -> list[JobStatus]:
    """Return all jobs and tasks whose name begins with `prefix`, submitted at `since` or later, by id."""
    jobs = select_jobs(
        connection,
        "submitted_at >= ? AND substr(name, 1, ?) = ? ORDER BY id, task",
        since,
        len(prefix),
        prefix,
    )
    return [_status(job) for job in jobs]


def queue_view(rows: Iterable[JobStatus], now: float, min_job_age_s: float) -> dict[JobId, JobStatus]:
    """Return what squeue knows: ended jobs only for a while."""
    return {row.job_id: row for row in rows if row.ended_at is None or now - row.ended_at < min_job_age_s}


def accounting_view(rows: Iterable[JobStatus], now: float, lag_s: float) -> dict[JobId, JobStatus]:
    """Return what sacct knows when its news are `lag_s` old."""
    if not lag_s:
        return {row.job_id: row for row in rows}
    return {row.job_id: _as_of(row, now - lag_s) for row in rows if (row.submitted_at or 0) <= now - lag_s}


def _as_of(row: JobStatus, moment: float) -> JobStatus:
    """Return the row as it was: what happened later is taken out of it."""
    if row.ended_at is None or row.ended_at <= moment:
        if row.started_at is None or row.started_at <= moment:
            return row
    began = row.started_at is not None and row.started_at <= moment
    return dataclasses.replace(
        row,
        state=JobState.RUNNING if began else JobState.PENDING,
        started_at=row.started_at if began else None,
        nodes=row.nodes if began else "",
        ended_at=None,
        exit_code=None,
        signal=None,
        reason="None",
        cancelled_by="",
        max_rss_bytes=None,
    )


def _status(job: Job) -> JobStatus:
    return JobStatus(
        job_id=JobId(job.id, job.task),
        name=job.name,
        state=JobState(job.state),
        exit_code=job.exit_code,
        signal=job.signal,
        reason=job.reason,
        nodes=job.nodes,
        restarts=job.restarts,
        submitted_at=job.submitted_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        time_limit_s=job.time_limit_s,
        cancelled_by=job.cancelled_by if job.ended_at is not None else "",
        max_rss_bytes=job.max_rss_bytes,
    )
