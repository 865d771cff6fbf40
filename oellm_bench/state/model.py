"""Everything known about a session, as values: what the events of its journal add up to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from oellm_bench.core.change import Change
from oellm_bench.core.events import ActionQueued, Intended, Noticed
from oellm_bench.core.job import JobState
from oellm_bench.core.result import ErrorMode

# Who cancels an entry, not only an attempt of it.
CANCELS_FOR_GOOD = ("user", "condition", "action", "pending")


@dataclass
class AttemptState:
    """Everything known about one attempt."""

    number: int
    token: str
    task: int | None
    timeout_s: float
    intended_at: float
    change: Change = field(default_factory=Change)
    after: tuple[str, ...] = ()
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
    max_rss_bytes: int | None = None
    billed_tres: str = ""
    missing_since: float | None = None
    terminal_since: float | None = None
    cancel_by: str = ""
    cancel_reason: str = ""
    cancel_mode: str = ""
    cursors: dict[str, dict[str, Any]] = field(default_factory=dict)
    signals: list[dict[str, Any]] = field(default_factory=list)
    signal_positions: set[str] = field(default_factory=set)
    last_output_at: float | None = None
    mode: ErrorMode | None = None
    reason: str = ""
    returncode: int | None = None
    cause: str = ""
    subsystem: str = ""
    advice: str = ""
    iteration: float | None = None
    over_at: float = 0.0
    decision: str = ""
    policy: str = ""
    requeued_after: float | None = None
    requeued_from: JobState | None = None
    running_since: float | None = (
        None  # as seen from here, by the monitor's clock; anew where it was suspended or missing
    )

    def next_incarnation(self, now: float) -> AttemptState:
        """Return what is known of the attempt once its job is back in the queue.

        `requeued_after` is when the job had started before, 0 where it never had, and `requeued_from` as what it had
        ended: what the scheduler says of that run is old by then.
        """
        return AttemptState(
            number=self.number,
            token=self.token,
            task=self.task,
            timeout_s=self.timeout_s,
            intended_at=now,
            change=self.change,
            submitted_at=now,
            job_id=self.job_id,
            state=JobState.PENDING,
            restarts=self.restarts + 1,
            cursors=dict(self.cursors),
            requeued_after=self.started_at or 0.0,
            requeued_from=self.state,
        )

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
    requeue_due: bool = False
    cancelled: bool = False
    selected_at: float = 0.0
    gate_open: bool = False
    gate_reason: str = ""
    given_up: ErrorMode | None = None
    next_change: Change = field(default_factory=Change)
    not_before: float = 0.0
    as_planned: bool = False
    over: bool = False
    decision: str = ""
    policy: str = ""
    retried_from: int = 0  # how many attempts it had when a person last had it tried again

    @property
    def last(self) -> AttemptState | None:
        """Return the newest attempt, None before the first."""
        return self.attempts[-1] if self.attempts else None

    @property
    def is_fresh(self) -> bool:
        """Whether its first attempt is still to be made."""
        return not (self.attempts or self.over or self.cancelled)

    @property
    def counted(self) -> list[AttemptState]:
        """Return the attempts that count against its budgets."""
        return self.attempts[self.retried_from :]

    def signals_called(self, name: str) -> int:
        """Return how many signals of that name its attempts have given."""
        return sum(signal["name"] == name for attempt in self.attempts for signal in attempt.signals)

    def restarts_for(self, mode: ErrorMode) -> int:
        """Return how many of those that count ended in `mode` and were followed by another one."""
        return sum(attempt.mode is mode for attempt in self.counted[:-1])


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
    notices: dict[str, Noticed] = field(default_factory=dict)
    told: set[tuple[str, str]] = field(default_factory=set)
    sink_errors: dict[str, str] = field(default_factory=dict)
    finished: bool = False

    def attempt(self, entry: str, number: int) -> AttemptState:
        """Return one attempt. Raises KeyError where there is none."""
        for attempt in reversed(self.entries[entry].attempts):  # the newest incarnation of one that was requeued
            if attempt.number == number:
                return attempt
        raise KeyError(f"entry {entry} has no attempt {number}")

    def of_token(self, token: str) -> list[tuple[EntryState, AttemptState]]:
        """Return the attempts that were submitted under one token."""
        intended = self.tokens.get(token)
        if intended is None:
            return []
        return [(self.entries[e], self.attempt(e, intended.attempt)) for e in intended.entries]
