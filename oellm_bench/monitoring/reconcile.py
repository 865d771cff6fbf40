"""From what the scheduler answered and what was known to what is new: pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from oellm_bench.core.events import Event, Observed, Submitted, WentMissing
from oellm_bench.core.job import JobId, JobState, JobStatus, Snapshot
from oellm_bench.state.model import AttemptState, SessionState

_LIVE = (JobState.PENDING, JobState.CONFIGURING, JobState.RUNNING, JobState.SUSPENDED)

Rows = Mapping[tuple[str, int | None], JobStatus]


@dataclass(frozen=True)
class Matched:
    """A snapshot by (token, array task). `duplicates` are further jobs under a token that has one already."""

    rows: Rows
    duplicates: tuple[JobId, ...]


def match(snapshot: Snapshot, state: SessionState) -> Matched:
    """Return one row per attempt. Of two jobs under one token the journalled one counts."""
    rows: dict[tuple[str, int | None], JobStatus] = {}
    duplicates: list[JobId] = []
    # Of two that are both unknown the one that runs counts, then the older: the other one is the duplicate.
    for row in sorted(snapshot.jobs, key=lambda job: (not job.state.is_running, job.job_id.job)):
        key = (row.name, row.job_id.task)
        known = rows.get(key)
        if known is None:
            rows[key] = row
            continue
        keep, drop = (row, known) if _is_journalled(row, state) else (known, row)
        rows[key] = keep
        if not drop.state.is_terminal and drop.job_id != keep.job_id:
            duplicates.append(drop.job_id)
    return Matched(rows, tuple(duplicates))


def adoptions(state: SessionState, matched: Matched, now: float) -> Iterator[Submitted]:
    """Yield an event for each submission that never got its answer and is in the scheduler all the same."""
    jobs = {name: row.job_id.job for (name, _), row in matched.rows.items()}
    for token in state.tokens:
        waiting = any(not (a.job_id or a.refused or a.is_over) for _, a in state.of_token(token))
        if waiting and token in jobs:
            yield Submitted(at=now, token=token, job_id=str(jobs[token]), adopted=True)


def observations(state: SessionState, matched: Matched, snapshot: Snapshot) -> Iterator[Event]:
    """Yield what the scheduler says new about every attempt that has a job and is not judged yet."""
    for entry in state.entries.values():
        attempt = entry.last  # only the newest attempt of an entry can be alive
        if attempt is not None and attempt.job_id and not attempt.is_over:
            yield from _observe(entry.id, attempt, matched, snapshot)


def _observe(entry: str, attempt: AttemptState, matched: Matched, snapshot: Snapshot) -> Iterator[Event]:
    """Yield what the scheduler says new about one attempt that has a job.

    A job in no source is missing only when both sources have answered.
    """
    row = matched.rows.get((attempt.token, attempt.task))
    now = snapshot.taken_at
    if row is not None and is_stale(row, attempt):
        return
    if row is None:
        everyone_answered = snapshot.queue_answered and snapshot.accounting_answered
        # A job that was submitted after the scheduler was asked cannot be in its answer.
        known = attempt.missing_since is not None or attempt.terminal_since is not None
        if everyone_answered and not known and attempt.submitted_at < snapshot.taken_at:
            yield WentMissing(at=now, entry=entry, attempt=attempt.number)
    elif row.state.is_terminal and not snapshot.queue_answered:
        return  # accounting alone cannot tell an end from a requeue: the job may be in the queue again
    elif _differs(row, attempt):
        yield Observed(
            at=now,
            entry=entry,
            attempt=attempt.number,
            state=row.state.value,
            job_id=str(row.job_id),
            nodes=row.nodes,
            reason=row.reason,
            restarts=max(row.restarts, attempt.restarts),  # accounting does not count them
            started_at=row.started_at,
            ended_at=row.ended_at,
            time_limit_s=row.time_limit_s,
            exit_code=row.exit_code,
            signal=row.signal,
            cancelled_by=row.cancelled_by,
            max_rss_bytes=row.max_rss_bytes,
            billed_tres=row.billed_tres,
        )


def cancellable(matched: Matched, attempts: Iterable[AttemptState]) -> list[JobId]:
    """Return the jobs of these attempts that the scheduler lists as unfinished, under their own names.

    The journal's id alone is not enough: a controller that was killed before it saved its state forgets jobs, and
    gives their ids to others (measured on 22.05).
    """
    rows = (matched.rows.get((attempt.token, attempt.task)) for attempt in attempts)
    return [row.job_id for row in rows if row is not None and not row.state.is_terminal]


def is_stale(row: JobStatus, attempt: AttemptState) -> bool:
    """Tell whether a row is of the job's last run, before it was put back into the queue.

    That need not have ended there: accounting may be so far behind that it still runs.
    """
    if attempt.requeued_after is None or attempt.started_at is not None:
        return False
    if not attempt.requeued_after:  # it had never started: only its end tells the two apart
        return row.started_at is None and row.state is attempt.requeued_from
    return row.started_at == attempt.requeued_after


def stragglers(snapshot: Snapshot, state: SessionState) -> Iterator[JobId]:
    """Yield jobs that live although their attempts are over: lost ones that turned up, and ended ones that another
    hand put back into the queue. Nothing waits for what they do, and another attempt may be at work.
    """
    if not snapshot.queue_answered:
        return
    # The newest incarnation of a requeued attempt comes last.
    over = {(a.token, a.task): a.is_over for entry in state.entries.values() for a in entry.attempts}
    for row in snapshot.jobs:
        if row.in_queue and row.state in _LIVE and over.get((row.name, row.job_id.task)):
            yield row.job_id


def _differs(row: JobStatus, attempt: AttemptState) -> bool:
    if attempt.terminal_since is not None:
        return False  # the end of a job is evidence that later answers do not change
    known = (attempt.state, attempt.nodes, attempt.scheduler_reason, attempt.restarts, attempt.started_at)
    seen = (row.state, row.nodes or attempt.nodes, row.reason, max(row.restarts, attempt.restarts), row.started_at)
    return known != seen or attempt.missing_since is not None


def _is_journalled(row: JobStatus, state: SessionState) -> bool:
    return any(attempt.job_id == str(row.job_id) for _, attempt in state.of_token(row.name))
