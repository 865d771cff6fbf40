"""Which metrics of a session are worth a plot, and what is drawn of each: medians with the range of their samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from oellm_bench.clock import utc_text
from oellm_bench.comparison.samples import Measured
from oellm_bench.comparison.series import Point, Series, series_of
from oellm_bench.comparison.verdict import Verdict
from oellm_bench.comparison.wording import level_change
from oellm_bench.reporting.past import Past
from oellm_bench.reporting.report import Report

MOST_PLOTS = 6
MOST_LINES = 6  # groups in a plot over sessions: more of them cannot be told apart
MOST_RANGES = 25  # groups in a plot of one session


@dataclass(frozen=True, kw_only=True)
class Line:
    """One group; `places`: the index of each of its points among the sessions of the plot."""

    group: str
    series: Series
    places: tuple[int, ...]

    def at(self, place: int) -> Point | None:
        """Return its point of a session, None where it has none."""
        return dict(zip(self.places, self.series.points, strict=True)).get(place)

    @property
    def changes(self) -> tuple[tuple[int, str], ...]:
        """Where a new level begins, and which."""
        return tuple((self.places[index], level_change(self.series, index)) for index in self.series.changes)


@dataclass(frozen=True, kw_only=True)
class Plot:
    """What one metric was for some groups, over the sessions named; the last session is the one reported.

    `baseline`: which of them is the baseline. `left_out`: how many groups are not drawn.
    """

    metric: str
    sessions: tuple[str, ...]
    baseline: int | None
    lines: tuple[Line, ...]
    left_out: int
    limits: tuple[float, ...] = ()

    @property
    def over_time(self) -> bool:
        """Whether there is an earlier session to draw lines from."""
        return len(self.sessions) > 1


def plots(report: Report) -> tuple[Plot, ...]:
    """Return the most important metrics: those that are worse, those with bounds, the run time, then the commonest.

    What never changed from session to session is left out.
    """
    past = report.past
    if past is None:
        return ()
    groups = past.subject.groups.values()
    known = {metric for group in groups for metric in group.figures}
    required = Counter(bound.metric for entry in report.entries for bound in entry.bounds if bound.limits)
    own = Counter(metric for group in groups for metric in group.own)
    worse = [metric for _, metric in _worse(past)]
    order = [*worse, *_commonest(required), "exec_time_s", *_commonest(own)]
    candidates = (_plot(report, past, metric) for metric in dict.fromkeys(order) if metric in known)
    return tuple(islice((one for one in candidates if not (one.over_time and _is_flat(one))), MOST_PLOTS))


def _commonest(counts: Counter[str]) -> list[str]:
    return [metric for metric, _ in counts.most_common()]


def _worse(past: Past) -> list[tuple[str, str]]:
    rows = past.comparison.rows if past.comparison is not None else ()
    return [(row.entry, row.metric) for row in rows if row.answer.verdict is Verdict.WORSE]


def _is_flat(one: Plot) -> bool:
    return all(len({end for p in line.series.points for end in (p.low, p.high)}) == 1 for line in one.lines)


def _plot(report: Report, past: Past, metric: str) -> Plot:
    wanted = [name for name, group in past.subject.groups.items() if group.figures.get(metric)]
    before = [other for other in past.sessions if any(other.samples(group, metric) for group in wanted)]
    shown = _shown(past, metric, wanted, before)
    stages = [*before, past.subject]
    return Plot(
        metric=metric,
        sessions=(*(_label(other, past) for other in before), "this session"),
        baseline=next((place for place, other in enumerate(before) if other is past.baseline), None),
        lines=tuple(_line(stages, group, metric) for group in shown),
        left_out=len(wanted) - len(shown),
        limits=_limits(report, metric, shown),
    )


def _line(stages: Sequence[Measured], group: str, metric: str) -> Line:
    places = tuple(place for place, one in enumerate(stages) if one.samples(group, metric))
    return Line(group=group, series=series_of(stages, group, metric), places=places)


def _shown(past: Past, metric: str, wanted: Sequence[str], before: Sequence[Measured]) -> list[str]:
    """Return the groups to draw; over time those that are worse, and that moved most since the last session."""
    if not before:
        return list(wanted[:MOST_RANGES])
    worse = set(_worse(past))

    def interest(group: str) -> tuple[bool, float]:
        old = next((value for other in reversed(before) if (value := other.median(group, metric)) is not None), None)
        new = past.subject.median(group, metric)
        moved = -1.0 if old is None or new is None else abs(new - old) / (abs(old) or 1.0)
        return (group, metric) in worse, moved

    chosen = set(sorted(wanted, key=interest, reverse=True)[:MOST_LINES])
    return [group for group in wanted if group in chosen]


def _limits(report: Report, metric: str, groups: Sequence[str]) -> tuple[float, ...]:
    """Return the bounds that hold for all the groups drawn, none where they differ."""
    of_entries = {
        bound.limits
        for entry in report.entries
        if entry.group in groups
        for bound in entry.bounds
        if bound.metric == metric and bound.limits
    }
    return next(iter(of_entries)) if len(of_entries) == 1 else ()


def _label(other: Measured, past: Past) -> str:
    day = utc_text(other.session.created_at)[5:16].replace("T", " ")
    return f"baseline {day}" if other is past.baseline else day
