"""What a report of a session says, as values: read from disk elsewhere, drawn elsewhere."""

from __future__ import annotations

import enum
import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # numpy comes with it, which a report without a past does not need
    from oellm_bench.reporting.past import Past


class Standing(enum.Enum):
    """What a reader wants to know first of an entry, the most urgent first."""

    FAILED = "failed"
    UNEXPECTED = "passed unexpectedly"
    CANCELLED = "cancelled"
    OPEN = "not over"
    EXPECTED = "failed as expected"
    PASSED = "passed"


_KINDS = {
    Standing.FAILED: "bad",
    Standing.UNEXPECTED: "bad",
    Standing.CANCELLED: "neutral",
    Standing.OPEN: "live",
    Standing.EXPECTED: "neutral",
    Standing.PASSED: "good",
}


def kind_of(standing: Standing | None) -> str:
    """Return the colour of a standing: good, bad, neutral, live; empty for none."""
    return _KINDS[standing] if standing is not None else ""


@dataclass(frozen=True, kw_only=True)
class AttemptReport:
    """One attempt; times are epoch seconds, None where they are not known.

    `outcome`: the error mode, or while it is not over the scheduler's state in small letters.
    """

    number: int
    outcome: str
    over: bool
    job_id: str = ""
    nodes: str = ""
    reason: str = ""
    decision: str = ""
    submitted_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A requirement and what was measured; `met` is None where nothing was, or there is nothing to hold it against.

    `expected_failure`: why it is expected not to be met; empty for most.
    """

    metric: str
    required: str
    measured: object
    met: bool | None
    message: str = ""
    limits: tuple[float, ...] = ()
    unit: str = ""
    expected_failure: str = ""

    @property
    def is_missed(self) -> bool:
        """Whether it does not hold, and that fails the entry."""
        return self.met is False and not self.expected_failure


@dataclass(frozen=True, kw_only=True)
class LogTail:
    """The last lines of a log; `path` is relative to the session's folder."""

    name: str
    path: str
    text: str
    left_out_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class EntryReport:
    """An entry. `folder` is relative to the session's; `metrics` are scalar, `more_metrics` were left out."""

    name: str
    id: str
    group: str
    state: str
    standing: Standing
    folder: str
    error_mode: str = ""
    reason: str = ""
    advice: str = ""
    expected_failure: str = ""
    attempts: tuple[AttemptReport, ...] = ()
    exec_time_s: float | None = None
    parameters: Mapping[str, object] = field(default_factory=dict)
    metrics: Mapping[str, object] = field(default_factory=dict)
    more_metrics: int = 0
    resources: Mapping[str, object] = field(default_factory=dict)
    bounds: tuple[Bound, ...] = ()
    logs: tuple[LogTail, ...] = ()
    note: str = ""

    @property
    def restarts(self) -> int:
        """How often it was started again."""
        return max(len(self.attempts) - 1, 0)

    @property
    def unmet(self) -> tuple[Bound, ...]:
        """The requirements that do not hold, those expected not to left aside."""
        return tuple(bound for bound in self.bounds if bound.is_missed)


@dataclass(frozen=True, kw_only=True)
class Fact:
    """Something about the environment; `before` is what the other session had, None where there is no other."""

    name: str
    value: str
    before: str | None = None

    @property
    def changed(self) -> bool:
        """Whether the other session had something else."""
        return self.before is not None and self.before != self.value


@dataclass(frozen=True, kw_only=True)
class EnvironmentReport:
    """Where a session ran. `facts` and `packages` have one line each; `compared_with` is a session, or empty."""

    facts: tuple[Fact, ...] = ()
    packages: tuple[Fact, ...] = ()
    compared_with: str = ""

    @property
    def changed_packages(self) -> tuple[Fact, ...]:
        """The packages of another version, those that came and those that went."""
        return tuple(package for package in self.packages if package.changed)


@dataclass(frozen=True, kw_only=True)
class Told:
    """A notice of the session."""

    at: float
    entry: str
    message: str


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """A stage. `planned` entries are in it; `after`: how many dependencies lead to which other stage, by its name."""

    name: str
    planned: int
    after: Mapping[str, int] = field(default_factory=dict)
    counts: Mapping[Standing, int] = field(default_factory=dict)

    @property
    def worst(self) -> Standing | None:
        """What a reader wants to know first of it; None where nothing has been submitted."""
        return next((standing for standing in Standing if self.counts.get(standing)), None)

    @property
    def told(self) -> str:
        """Its size and how its entries stand, in words."""
        counts = ", ".join(f"{self.counts[one]} {one.value}" for one in Standing if self.counts.get(one))
        entries = f"{self.planned} {'entry' if self.planned == 1 else 'entries'}"
        return f"{entries}, {counts or 'not submitted'}"


@dataclass(frozen=True, kw_only=True)
class Report:
    """A session; entries are in the order of the plan. `now`: when it was looked at (epoch seconds).

    `finished`: whether all of it is over. `stages`: empty where there is nothing to draw. `past`: None where nobody
    asked for it. `untold`: what sinks have not taken.
    """

    session: str
    project: str
    session_dir: str
    created_at: float
    now: float
    finished: bool
    version: str
    run_reason: str = ""
    planned: int = 0
    entries: tuple[EntryReport, ...] = ()
    stages: tuple[StageReport, ...] = ()
    past: Past | None = None
    environment: EnvironmentReport = field(default_factory=EnvironmentReport)
    notices: tuple[Told, ...] = ()
    untold: tuple[str, ...] = ()
    command_line: tuple[str, ...] = ()

    @functools.cached_property
    def counts(self) -> Mapping[Standing, int]:
        """How many entries stand how; 0 for none."""
        return Counter(entry.standing for entry in self.entries)

    @property
    def restarted(self) -> int:
        """How many entries had more than one attempt."""
        return sum(entry.restarts > 0 for entry in self.entries)

    @functools.cached_property
    def failed(self) -> tuple[EntryReport, ...]:
        """The entries that have failed unexpectedly."""
        return tuple(entry for entry in self.entries if entry.standing is Standing.FAILED)

    @functools.cached_property
    def failure_modes(self) -> tuple[tuple[str, int], ...]:
        """The error modes of those, the commonest first."""
        return tuple(Counter(entry.error_mode for entry in self.failed).most_common())

    @functools.cached_property
    def by_interest(self) -> tuple[EntryReport, ...]:
        """The entries, those that ask for attention first, else in the order of the plan."""
        rank = {standing: number for number, standing in enumerate(Standing)}
        return tuple(sorted(self.entries, key=lambda entry: (rank[entry.standing], not entry.restarts)))

    @functools.cached_property
    def ended_at(self) -> float:
        """When the last attempt ended; while one runs, when it was looked at."""
        ends = [attempt.ended_at for entry in self.entries for attempt in entry.attempts]
        known = [end for end in ends if end is not None]
        return max(known) if known and self.finished else self.now
