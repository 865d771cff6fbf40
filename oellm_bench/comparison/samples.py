"""What the entries of a session measured, as samples by group and metric."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from oellm_bench.comparison.environment import Environment, environment_of
from oellm_bench.core.expectation import is_as_expected
from oellm_bench.core.metric import finite_number
from oellm_bench.core.plan import PlannedEntry, read_plan
from oellm_bench.core.result import EntryResult
from oellm_bench.errors import BenchError
from oellm_bench.session import Session
from oellm_bench.view import final_result

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Group:
    """The repetitions of one entry: how many there are, how they ended, and what was measured.

    `ran`: how many ran well. One that only missed a requirement did: without it just the slow ones would be missing.
    `figures`: samples by metric, in the order of the repetitions. `own`: the names of what the script itself reports,
    and the run time. `unusable`: metrics that no number can be made of in some repetition, with the value.
    """

    planned: int = 0
    ran: int = 0
    as_expected: int = 0
    figures: dict[str, list[float]] = field(default_factory=dict)
    own: dict[str, None] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A session with its samples; `finished`: whether all of it is over."""

    session: Session
    finished: bool
    groups: Mapping[str, Group]
    environment: Environment

    @property
    def is_good(self) -> bool:
        """Whether it is over, and every entry ended as expected."""
        return self.finished and all(group.as_expected == group.planned for group in self.groups.values())

    def samples(self, group: str, metric: str) -> tuple[float, ...]:
        """Return the samples of a metric; none where there are none."""
        return tuple(self.groups[group].figures.get(metric, ())) if group in self.groups else ()

    def median(self, group: str, metric: str) -> float | None:
        """Return the median of a metric, None where nothing was measured."""
        found = self.samples(group, metric)
        return median(found) if found else None


def measured(session: Session) -> Measured:
    """Read the samples of a session from its plan, its journal and its results. Raises StateError."""
    plan, state = read_plan(session.layout.sweep), session.store().state
    groups: dict[str, Group] = {}
    names = []
    for planned in plan.entries:
        entry = state.entries.get(planned.id)
        if entry is None:
            continue
        group = groups.setdefault(planned.group or planned.name, Group())
        group.planned += 1
        if entry.over:
            names.append(planned.name)
            _add(group, planned, final_result(planned, entry, session.layout))
    over = bool(state.entries) and all(entry.over for entry in state.entries.values())
    return Measured(session=session, finished=over, groups=groups, environment=environment_of(session, names))


def all_measured(sessions: Iterable[Session]) -> Iterator[Measured]:
    """Yield sessions with their samples; one that cannot be read is reported and left out."""
    for session in sessions:
        try:
            yield measured(session)
        except BenchError as err:
            _log.warning("session %s is left out: %s", session.id, err)


def _add(group: Group, planned: PlannedEntry, result: EntryResult) -> None:
    group.as_expected += is_as_expected(planned.expected_failure, result.error_mode)
    if not result.ran_well:
        return
    group.ran += 1
    for name, value in result.figures().items():
        number = finite_number(value)
        if number is not None:
            group.figures.setdefault(name, []).append(number)
        elif isinstance(value, float | str) and name in result.metrics:
            group.unusable.setdefault(name, f"{value!r:.60}")
    group.own.update(dict.fromkeys((*result.metrics, "exec_time_s")))


def median(values: Sequence[float]) -> float:
    """Return the median of finite numbers, which is finite too."""
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(ordered) % 2 else ordered[middle - 1] / 2 + ordered[middle] / 2
