"""Events to state: a pure fold, the same from a journal read today or next year."""

from __future__ import annotations

import functools
from collections.abc import Collection

from oellm_bench.core.change import Change
from oellm_bench.core.events import (
    ActionQueued,
    ActionTried,
    CancelAsked,
    Decided,
    Delivered,
    Ended,
    Event,
    Gate,
    GivenUp,
    Intended,
    LogRead,
    Noticed,
    Observed,
    Requeued,
    RequeueFailed,
    Retried,
    Selected,
    SessionFinished,
    SinkFailed,
    SubmissionFailed,
    Submitted,
    WentMissing,
)
from oellm_bench.core.job import JobState
from oellm_bench.core.result import ErrorMode
from oellm_bench.state.model import CANCELS_FOR_GOOD, ActionState, AttemptState, EntryState, SessionState


def _change(event: Intended | Decided) -> Change:
    return Change(extra_time_s=event.extra_time_s, memory_factor=event.memory_factor, exclude=event.exclude)


@functools.singledispatch
def apply(event: Event, state: SessionState) -> None:
    """Take one event into the state."""
    raise TypeError(f"no rule for {type(event).__name__}")


@apply.register
def _(event: Selected, state: SessionState) -> None:
    for entry in event.entries:
        state.entries.setdefault(entry, EntryState(id=entry, selected_at=event.at))
    _go_on(state)


@apply.register
def _(event: Retried, state: SessionState) -> None:
    for entry_id in event.entries:
        entry = state.entries[entry_id]
        entry.over = entry.cancelled = entry.requeue_due = entry.as_planned = False
        entry.restart_due, entry.retried_from = bool(entry.attempts), len(entry.attempts)
        entry.given_up, entry.decision, entry.policy = None, "", ""
        entry.next_change, entry.not_before = Change(), 0.0
        entry.selected_at = event.at
    _go_on(state, event.entries)


def _go_on(state: SessionState, again: Collection[str] = ()) -> None:
    """Have a session that may have been at its end tell of it anew, and of those entries that are tried again."""
    state.finished = False
    state.delivered = {(sink, entry) for sink, entry in state.delivered if entry and entry not in again}


@apply.register
def _(event: Intended, state: SessionState) -> None:
    if event.token in state.tokens:
        for _, attempt in state.of_token(event.token):
            attempt.intended_at = event.at  # sent again under the same token after a look-up found nothing
            attempt.unclear_since = None
        return
    state.tokens[event.token] = event
    tasks = event.tasks or (None,) * len(event.entries)
    for entry_id, task in zip(event.entries, tasks, strict=True):
        entry = state.entries[entry_id]
        entry.restart_due = False
        entry.over = False
        entry.attempts.append(
            AttemptState(
                number=event.attempt,
                token=event.token,
                task=task,
                timeout_s=event.timeout_s,
                change=_change(event),
                intended_at=event.at,
                after=event.after,
            )
        )


@apply.register
def _(event: Submitted, state: SessionState) -> None:
    for _, attempt in state.of_token(event.token):
        attempt.submitted_at = event.at
        attempt.job_id = event.job_id if attempt.task is None else f"{event.job_id}_{attempt.task}"
        attempt.unclear_since = None
        if attempt.state is JobState.UNKNOWN:
            attempt.state = JobState.PENDING


@apply.register
def _(event: SubmissionFailed, state: SessionState) -> None:
    for entry, attempt in state.of_token(event.token):
        if event.outcome == "unclear":
            attempt.unclear_since = event.at
        elif event.outcome == "refused":
            attempt.refused = event.message
        else:
            entry.attempts.remove(attempt)
            entry.restart_due = attempt.number > 1 and not entry.cancelled
            if entry.cancelled:  # meanwhile: nobody sends it again, so this is its end
                entry.over, entry.decision = True, attempt.cancel_reason
    if event.outcome == "unsent":
        del state.tokens[event.token]


@apply.register
def _(event: Observed, state: SessionState) -> None:
    attempt = state.attempt(event.entry, event.attempt)
    ran = attempt.state.is_running and attempt.missing_since is None and attempt.started_at == event.started_at
    attempt.state = JobState.parse(event.state)
    if attempt.state.is_running and not ran:
        attempt.running_since = event.at
    attempt.job_id = event.job_id or attempt.job_id
    attempt.nodes = event.nodes or attempt.nodes
    attempt.scheduler_reason = event.reason
    attempt.restarts = event.restarts
    attempt.started_at = event.started_at
    attempt.ended_at = event.ended_at
    attempt.time_limit_s = event.time_limit_s
    attempt.exit_code, attempt.signal = event.exit_code, event.signal
    attempt.cancelled_by = event.cancelled_by
    attempt.max_rss_bytes = event.max_rss_bytes or attempt.max_rss_bytes
    attempt.billed_tres = event.billed_tres or attempt.billed_tres
    attempt.missing_since = None
    attempt.terminal_since = event.at if attempt.state.is_terminal else None


@apply.register
def _(event: WentMissing, state: SessionState) -> None:
    attempt = state.attempt(event.entry, event.attempt)
    attempt.missing_since = attempt.missing_since or event.at


@apply.register
def _(event: LogRead, state: SessionState) -> None:
    attempt = state.attempt(event.entry, event.attempt)
    attempt.cursors[event.stream] = dict(event.cursor)
    if not event.noise:
        attempt.last_output_at = event.at
    for signal in event.signals:
        if signal["position"] not in attempt.signal_positions:
            attempt.signal_positions.add(signal["position"])
            attempt.signals.append(dict(signal))


@apply.register
def _(event: Gate, state: SessionState) -> None:
    entry = state.entries[event.entry]
    entry.gate_open, entry.gate_reason = event.is_open, event.reason


@apply.register
def _(event: GivenUp, state: SessionState) -> None:
    entry = state.entries[event.entry]
    entry.restart_due, entry.over, entry.decision = False, True, event.reason
    entry.given_up = ErrorMode(event.mode)


@apply.register
def _(event: CancelAsked, state: SessionState) -> None:
    entry = state.entries[event.entry]
    if event.by in CANCELS_FOR_GOOD:
        entry.cancelled = True  # no decision taken before or after brings it back
        if entry.restart_due or not event.attempt:
            entry.restart_due, entry.over, entry.decision = False, True, event.reason
    if not event.attempt:
        return
    attempt = state.attempt(event.entry, event.attempt)
    # Who asks first is who ends it, unless it is for good; a success that was asked for only the user undoes.
    for_good = event.by in CANCELS_FOR_GOOD and attempt.cancel_by not in (*CANCELS_FOR_GOOD, "finish")
    if not attempt.cancel_by or for_good or (event.by == "user" and attempt.cancel_by != "user"):
        attempt.cancel_by, attempt.cancel_reason, attempt.cancel_mode = event.by, event.reason, event.mode


@apply.register
def _(event: Ended, state: SessionState) -> None:
    attempt = state.attempt(event.entry, event.attempt)
    attempt.mode = ErrorMode(event.mode)
    attempt.reason = event.reason
    attempt.returncode = event.returncode
    attempt.cause, attempt.subsystem, attempt.advice = event.cause, event.subsystem, event.advice
    attempt.iteration, attempt.over_at = event.iteration, event.at


@apply.register
def _(event: Requeued, state: SessionState) -> None:
    entry = state.entries[event.entry]
    before = state.attempt(event.entry, event.attempt)
    entry.restart_due = entry.requeue_due = entry.over = False
    entry.attempts.append(before.next_incarnation(event.at))


@apply.register
def _(event: RequeueFailed, state: SessionState) -> None:
    entry = state.entries[event.entry]
    entry.attempts.pop()
    entry.restart_due, entry.requeue_due = not entry.cancelled, event.unsent
    entry.over = entry.cancelled


@apply.register
def _(event: Decided, state: SessionState) -> None:
    entry = state.entries[event.entry]
    entry.restart_due = event.restart and not entry.cancelled
    entry.over = not entry.restart_due
    entry.next_change, entry.not_before = _change(event), event.not_before
    entry.as_planned, entry.requeue_due = event.as_planned, event.requeue
    entry.decision, entry.policy = event.reason, event.policy
    attempt = state.attempt(event.entry, event.attempt)
    attempt.decision, attempt.policy = event.reason, event.policy


@apply.register
def _(event: ActionQueued, state: SessionState) -> None:
    state.actions.setdefault(event.id, ActionState(queued=event))


@apply.register
def _(event: ActionTried, state: SessionState) -> None:
    action = state.actions[event.id]
    action.tries += 1
    action.done = action.done or event.ok
    action.message = event.message


@apply.register
def _(event: Noticed, state: SessionState) -> None:
    state.notices.setdefault(event.key, event)


@apply.register
def _(event: Delivered, state: SessionState) -> None:
    state.delivered.discard((event.sink, ""))  # what comes after the end of the session makes it end again
    if event.notice:
        state.told.add((event.sink, event.notice))
    else:
        state.delivered.add((event.sink, event.entry))


@apply.register
def _(event: SinkFailed, state: SessionState) -> None:
    state.sink_errors[event.sink] = event.message


@apply.register
def _(event: SessionFinished, state: SessionState) -> None:
    state.finished = True
