"""Gather the evidence about an attempt and hand it to the classifier."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from oellm_bench.core.job import JobState
from oellm_bench.core.layout import AttemptLayout, EntryLayout
from oellm_bench.core.result import ErrorMode, ExitRecord
from oellm_bench.errors import StateError
from oellm_bench.fileio import last_line, log_end, read_json
from oellm_bench.monitoring.classify import Evidence, Verdict, classify
from oellm_bench.monitoring.heartbeat import read_heartbeat
from oellm_bench.monitoring.signatures import WINDOW_BYTES, Signatures
from oellm_bench.state.model import AttemptState
from oellm_bench.view import read_result

# How long an ended job's own record may take to show up on a shared file system before the scheduler's word
# has to do. Seconds.
_SETTLE_S = 15.0
# How long a job that had not started may be in no answer: the controller lists what waits at once, and
# accounting is 5 s behind at the most (measured on 22.05). Seconds.
_UNSTARTED_S = 60.0
_LATELY_S = 300.0
# What keeps a Ray head from coming up, and will do so again.
_BEHIND_A_HEAD = (ErrorMode.OOM, ErrorMode.DISK_FULL)


def _last_error(files: AttemptLayout) -> str:
    """Return the last line of stderr, of both where the command wrote both into one file."""
    return last_line(files.stderr if files.stderr.exists() else files.stdout)


def verdict(
    attempt: AttemptState,
    layout: EntryLayout,
    scheduler_log: Path,
    signatures: Signatures,
    *,
    now: float,
    missing_grace_s: float,
) -> Verdict | None:
    """Return how an attempt ended, None while it may be going on or its files may still arrive.

    What its logs say of the cause is looked up where nobody else knows more than that it crashed.
    """
    if attempt.refused:
        return Verdict(mode=ErrorMode.SUBMIT_REJECTED, reason=attempt.refused)
    if not attempt.may_be_over:
        return None
    record = exit_record(attempt, layout)
    if record is None and now - _gone_since(attempt) < _patience(attempt, missing_grace_s):
        return None
    evidence = _evidence(attempt, layout, record, scheduler_log)
    found = classify(evidence)
    if found.mode not in (ErrorMode.CRASH, ErrorMode.RAY_START_FAILED):
        return found
    files = layout.attempt(attempt.number)
    ends = [log_end(path, size=WINDOW_BYTES) for path in (files.stderr, files.stdout)]
    cause = signatures.cause(ends)
    if found.mode is ErrorMode.CRASH:
        return classify(replace(evidence, cause=cause))
    if cause is None or cause.mode not in _BEHIND_A_HEAD:
        return found
    return replace(found, mode=cause.mode, reason=f"{found.reason}: {cause.line}", cause=cause)


def _is_at_limit(attempt: AttemptState, files: AttemptLayout) -> bool:
    """Tell whether a job ended when its time was up, as far as anyone knows: it gave a sign of life shortly before."""
    if attempt.started_at is None or attempt.time_limit_s is None:
        return False
    limit_at = attempt.started_at + attempt.time_limit_s
    if attempt.ended_at is not None:
        return attempt.ended_at >= limit_at
    alive_at = max(attempt.last_output_at or 0.0, read_heartbeat(files.heartbeat, attempt.number).get("at", 0.0))
    return (attempt.missing_since or 0.0) >= limit_at and limit_at - alive_at <= _LATELY_S


def _gone_since(attempt: AttemptState) -> float:
    since = attempt.terminal_since if attempt.terminal_since is not None else attempt.missing_since
    return since or 0.0


def _patience(attempt: AttemptState, missing_grace_s: float) -> float:
    """Return how long to wait for the job's own record."""
    if attempt.terminal_since is None:
        return min(missing_grace_s, _UNSTARTED_S) if _leaves_no_trace(attempt) else missing_grace_s
    could_write = attempt.started_at is not None and attempt.state in (JobState.COMPLETED, JobState.FAILED)
    return _SETTLE_S if could_write else 0.0


def _leaves_no_trace(attempt: AttemptState) -> bool:
    """Tell whether this never started, and would leave no trace anywhere: a cancelled array task, or a job that
    SLURM itself took away because what it waited for has failed.
    """
    waited = attempt.started_at is None and attempt.state is JobState.PENDING
    return waited and attempt.requeued_after is None and (attempt.task is not None or bool(attempt.after))


def exit_record(attempt: AttemptState, layout: EntryLayout) -> ExitRecord | None:
    """Return the attempt's exit.json, if it is there, whole, and of this very incarnation."""
    try:
        record = ExitRecord.from_document(read_json(layout.attempt(attempt.number).exit))
    except (StateError, TypeError, KeyError):
        return None
    # The restarts of a requeued job may have gone by unseen: only an older incarnation's record is stale.
    same = record.token == attempt.token and record.restarts >= attempt.restarts
    return record if same else None


def _evidence(attempt: AttemptState, layout: EntryLayout, record: ExitRecord | None, scheduler_log: Path) -> Evidence:
    return Evidence(
        state=attempt.state if attempt.terminal_since is not None else JobState.UNKNOWN,
        record=record,
        result=read_result(layout.attempt(attempt.number).results, attempt.number),
        vanished_unstarted=attempt.terminal_since is None and _leaves_no_trace(attempt),
        waited_for_others=bool(attempt.after),
        at_limit=_is_at_limit(attempt, layout.attempt(attempt.number)),
        cancel_by=attempt.cancel_by,
        cancel_reason=attempt.cancel_reason,
        cancel_mode=attempt.cancel_mode,
        exit_code=attempt.exit_code,
        signal=attempt.signal,
        scheduler_reason=attempt.scheduler_reason,
        cancelled_by=attempt.cancelled_by,
        signal_modes=tuple((s["mode"], s["name"]) for s in attempt.signals if s["mode"]),
        last_error=_last_error(layout.attempt(attempt.number)),
        scheduler_log=log_end(scheduler_log),
    )
