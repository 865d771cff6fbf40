"""What happens to a session, as events: the journal's lines, the only truth about it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

SCHEMA_VERSION = 2  # what changed with each: state/migration.py


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened at `at` (epoch seconds, UTC)."""

    at: float

    def to_document(self) -> dict[str, Any]:
        """Return plain JSON values, with the kind of event under `event`."""
        return {"event": type(self).__name__, **dataclasses.asdict(self)}


@dataclass(frozen=True, kw_only=True)
class Selected(Event):
    """These entries are to be run. The first event of a session, and again when more are added."""

    entries: tuple[str, ...]
    schema_version: int = SCHEMA_VERSION


@dataclass(frozen=True, kw_only=True)
class Retried(Event):
    """A person has these ended entries tried again, whatever was decided about them; their budgets begin anew."""

    entries: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Intended(Event):
    """A submission is about to be made. `tasks` are SLURM's array indices, one per entry; a single job has none.

    `after`: ids of the jobs it has to wait for.
    `offset` leads from those to the script's own map. `timeout_s` is the attempt's time limit for its command.
    """

    token: str
    entries: tuple[str, ...]
    attempt: int
    tasks: tuple[int, ...] = ()
    offset: int = 0
    after: tuple[str, ...] = ()
    timeout_s: float
    extra_time_s: float = 0.0
    memory_factor: float = 1.0
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Submitted(Event):
    """The scheduler has the job. `adopted`: found by its token after an unclear submission."""

    token: str
    job_id: str
    adopted: bool = False


@dataclass(frozen=True, kw_only=True)
class SubmissionFailed(Event):
    """A submission did not get an id. `outcome`: `unclear` (the job may exist), `refused` (for good), or `unsent`
    (nobody there, or no place in the queue just now: it is as if it had not been tried).
    """

    token: str
    outcome: str
    message: str


@dataclass(frozen=True, kw_only=True)
class Observed(Event):
    """The scheduler reports something new about an attempt."""

    entry: str
    attempt: int
    state: str
    job_id: str = ""
    nodes: str = ""
    reason: str = ""
    restarts: int = 0
    started_at: float | None = None
    ended_at: float | None = None
    time_limit_s: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    cancelled_by: str = ""
    max_rss_bytes: int | None = None
    billed_tres: str = ""


@dataclass(frozen=True, kw_only=True)
class WentMissing(Event):
    """Every source answered, and none lists the attempt's job."""

    entry: str
    attempt: int


@dataclass(frozen=True, kw_only=True)
class LogRead(Event):
    """A log grew. `signals` are the matches in what came new; cursor and signals are one step on purpose.

    `noise`: nothing of it is a sign of life.
    """

    entry: str
    attempt: int
    stream: str
    cursor: Mapping[str, Any]
    signals: tuple[Mapping[str, Any], ...] = ()
    noise: bool = False


@dataclass(frozen=True, kw_only=True)
class Gate(Event):
    """An entry's start conditions were looked at: whether it may be submitted now, and why."""

    entry: str
    is_open: bool
    reason: str


@dataclass(frozen=True, kw_only=True)
class GivenUp(Event):
    """An entry is over without a (further) attempt."""

    entry: str
    mode: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class CancelAsked(Event):
    """An entry is to be cancelled. `by`: `user`, `condition`, `action` or `pending` (never restarted), `stall`,
    `dependency`, or the action `restart`, `policy` or `finish`.

    `attempt` is 0 where there is none yet. `mode`: what the attempt is judged as if this ends it.
    """

    entry: str
    attempt: int
    by: str
    reason: str = ""
    mode: str = ""


@dataclass(frozen=True, kw_only=True)
class Ended(Event):
    """An attempt is over and classified."""

    entry: str
    attempt: int
    mode: str
    reason: str
    returncode: int | None = None
    cause: str = ""
    subsystem: str = ""
    advice: str = ""
    iteration: float | None = None


@dataclass(frozen=True, kw_only=True)
class Decided(Event):
    """What follows the end of an attempt: a restart, changed so and not before then, or the end of the entry.

    `as_planned`: memory and nodes are those of the plan again. `requeue`: the same job goes back into the queue.
    """

    entry: str
    attempt: int
    restart: bool
    reason: str
    policy: str = ""
    extra_time_s: float = 0.0
    memory_factor: float = 1.0
    exclude: tuple[str, ...] = ()
    not_before: float = 0.0
    as_planned: bool = False
    requeue: bool = False


@dataclass(frozen=True, kw_only=True)
class Requeued(Event):
    """An ended job is about to be put back into the queue: its attempt goes on under the same id."""

    entry: str
    attempt: int


@dataclass(frozen=True, kw_only=True)
class RequeueFailed(Event):
    """A job did not go back into the queue: `unsent` (nobody there, it is tried again), or for good."""

    entry: str
    attempt: int
    message: str
    unsent: bool = False


@dataclass(frozen=True, kw_only=True)
class ActionQueued(Event):
    """A signal asks for a command to be run. `id` makes doing it twice detectable."""

    id: str
    entry: str
    attempt: int
    name: str
    argv: tuple[str, ...]
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class ActionTried(Event):
    """A queued command ran, well or not."""

    id: str
    ok: bool
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Noticed(Event):
    """There is something for people to know. `key` makes telling it twice detectable."""

    key: str
    message: str
    entry: str = ""
    attempt: int = 0


@dataclass(frozen=True, kw_only=True)
class Delivered(Event):
    """A sink has taken an entry's result, or the notice of that key; both empty: it was told that the session ended."""

    sink: str
    entry: str = ""
    notice: str = ""


@dataclass(frozen=True, kw_only=True)
class SinkFailed(Event):
    """A sink has not taken what it was handed; written when the reason changes."""

    sink: str
    message: str


@dataclass(frozen=True, kw_only=True)
class SessionFinished(Event):
    """Every selected entry is over."""

    passed: int
    failed: int


_KINDS: Mapping[str, type[Event]] = {kind.__name__: kind for kind in Event.__subclasses__()}
# What JSON has as lists. The annotations are text here.
_TUPLES = {
    name: [item.name for item in dataclasses.fields(kind) if str(item.type).startswith("tuple")]
    for name, kind in _KINDS.items()
}


def from_document(document: Mapping[str, Any]) -> Event:
    """Read what `to_document` wrote. Raises ValueError for an event this version does not know."""
    if not isinstance(document, Mapping):
        raise ValueError("not a mapping")
    values = dict(document)
    kind = _KINDS.get(values.pop("event", ""))
    if kind is None:
        raise ValueError(f"unknown event {document.get('event')!r}")
    for name in _TUPLES[kind.__name__]:
        if isinstance(values.get(name), list):
            values[name] = tuple(values[name])
    try:
        return kind(**values)
    except TypeError as err:
        raise ValueError(f"{kind.__name__}: {err}") from err
