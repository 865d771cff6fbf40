"""Events to state: a pure fold, the same from a journal read today or next year."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Any

from oellm_bench.core.events import (
    ActionQueued,
    ActionTried,
    CancelAsked,
    Decided,
    Delivered,
    Ended,
    Event,
    Intended,
    LogRead,
    Observed,
    Selected,
    SessionFinished,
    SubmissionFailed,
    Submitted,
    WentMissing,
)
from oellm_bench.core.job import JobState
from oellm_bench.core.result import ErrorMode


@dataclass
class AttemptState:
    """Everything known about one attempt."""

    number: int
    token: str
    task: int | None
    timeout_s: float
    extra_time_s: float
    intended_at: float
    submitted_at: float = 0.0
    job_id: str = ""
    unclear_since: float | None = None
    refused: str = ""
    state: JobState = JobState.UNKNOWN
    nodes: str = ""
    scheduler_reason: str = ""
    restarts: int = 0
    started_at: float | None = None
    ended_at: float | None = None
    time_limit_s: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    cancelled_by: str = ""
    missing_since: float | None = None
    terminal_since: float | None = None
    cancel_by: str = ""
    cancel_reason: str = ""
    cursors: dict[str, dict[str, Any]] = field(default_factory=dict)
    signals: list[dict[str, Any]] = field(default_factory=list)
    signal_positions: set[str] = field(default_factory=set)
    last_output_at: float | None = None
    mode: ErrorMode | None = None
    reason: str = ""
    returncode: int | None = None
    decision: str = ""

    @property
    def may_be_over(self) -> bool:
        """Whether there is something to classify: a refusal, an end, or a job that nobody knows of any more."""
        return bool(self.refused) or self.terminal_since is not None or self.missing_since is not None

    @property
    def is_over(self) -> bool:
        """Whether the attempt has been classified."""
        return self.mode is not None


@dataclass
class EntryState:
    """The attempts of one entry, and what was decided after the last one."""

    id: str
    attempts: list[AttemptState] = field(default_factory=list)
    restart_due: bool = False
    cancelled: bool = False
    next_extra_time_s: float = 0.0
    over: bool = False
    decision: str = ""
    policy: str = ""

    @property
    def last(self) -> AttemptState | None:
        """Return the newest attempt, None before the first."""
        return self.attempts[-1] if self.attempts else None

    @property
    def is_fresh(self) -> bool:
        """Whether its first attempt is still to be made."""
        return not (self.attempts or self.over or self.cancelled)

    def restarts_for(self, mode: ErrorMode) -> int:
        """Return how many attempts that ended in `mode` were followed by another one."""
        return sum(attempt.mode is mode for attempt in self.attempts[:-1])


@dataclass
class ActionState:
    """A command asked for by a signal."""

    queued: ActionQueued
    tries: int = 0
    done: bool = False
    message: str = ""


@dataclass
class SessionState:
    """Everything known about a session."""

    entries: dict[str, EntryState] = field(default_factory=dict)
    tokens: dict[str, Intended] = field(default_factory=dict)
    actions: dict[str, ActionState] = field(default_factory=dict)
    delivered: set[tuple[str, str]] = field(default_factory=set)
    finished: bool = False

    def attempt(self, entry: str, number: int) -> AttemptState:
        """Return one attempt. Raises KeyError where there is none."""
        for attempt in self.entries[entry].attempts:
            if attempt.number == number:
                return attempt
        raise KeyError(f"entry {entry} has no attempt {number}")

    def of_token(self, token: str) -> list[tuple[EntryState, AttemptState]]:
        """Return the attempts that were submitted under one token."""
        intended = self.tokens.get(token)
        if intended is None:
            return []
        return [(self.entries[e], self.attempt(e, intended.attempt)) for e in intended.entries]


@functools.singledispatch
def apply(event: Event, state: SessionState) -> None:
    """Take one event into the state."""
    raise TypeError(f"no rule for {type(event).__name__}")


@apply.register
def _(event: Selected, state: SessionState) -> None:
    for entry in event.entries:
        state.entries.setdefault(entry, EntryState(id=entry))
    state.finished = False


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
                extra_time_s=event.extra_time_s,
                intended_at=event.at,
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
            entry.restart_due = attempt.number > 1
    if event.outcome == "unsent":
        del state.tokens[event.token]


@apply.register
def _(event: Observed, state: SessionState) -> None:
    attempt = state.attempt(event.entry, event.attempt)
    attempt.state = JobState.parse(event.state)
    attempt.job_id = event.job_id or attempt.job_id
    attempt.nodes = event.nodes or attempt.nodes
    attempt.scheduler_reason = event.reason
    attempt.restarts = event.restarts
    attempt.started_at = event.started_at
    attempt.ended_at = event.ended_at
    attempt.time_limit_s = event.time_limit_s
    attempt.exit_code, attempt.signal = event.exit_code, event.signal
    attempt.cancelled_by = event.cancelled_by
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
    attempt.last_output_at = event.at
    for signal in event.signals:
        if signal["position"] not in attempt.signal_positions:
            attempt.signal_positions.add(signal["position"])
            attempt.signals.append(dict(signal))


@apply.register
def _(event: CancelAsked, state: SessionState) -> None:
    entry = state.entries[event.entry]
    if event.by == "user":
        entry.cancelled = True  # for good: no decision taken before or after brings it back
        if entry.restart_due or not event.attempt:
            entry.restart_due, entry.over, entry.decision = False, True, "cancelled by the user"
    if not event.attempt:
        return
    attempt = state.attempt(event.entry, event.attempt)
    if attempt.cancel_by != "user":
        attempt.cancel_by, attempt.cancel_reason = event.by, event.reason


@apply.register
def _(event: Ended, state: SessionState) -> None:
    attempt = state.attempt(event.entry, event.attempt)
    attempt.mode = ErrorMode(event.mode)
    attempt.reason = event.reason
    attempt.returncode = event.returncode


@apply.register
def _(event: Decided, state: SessionState) -> None:
    entry = state.entries[event.entry]
    entry.restart_due = event.restart and not entry.cancelled
    entry.over = not entry.restart_due
    entry.next_extra_time_s = event.extra_time_s
    entry.decision, entry.policy = event.reason, event.policy
    state.attempt(event.entry, event.attempt).decision = event.reason


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
def _(event: Delivered, state: SessionState) -> None:
    state.delivered.add((event.sink, event.entry))


@apply.register
def _(event: SessionFinished, state: SessionState) -> None:
    state.finished = True
