"""Which metrics of a session are worth a plot, and the points of each: medians with the range of their samples."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from oellm_bench.clock import utc_text
from oellm_bench.reporting.report import PastSession, Report, Samples

MOST_PLOTS = 6
MOST_LINES = 6  # groups in a plot over sessions: more of them cannot be told apart
MOST_RANGES = 25  # groups in a plot of one session
_MIN_EARLIER = 1


@dataclass(frozen=True, kw_only=True)
class Point:
    """The samples of a group in one session; `at` is the index of the session in the plot's `sessions`."""

    at: int
    median: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, kw_only=True)
class Series:
    """What one metric was for some groups, over the sessions named; the last session is the one reported."""

    metric: str
    sessions: tuple[str, ...]
    baseline: int | None
    groups: tuple[tuple[str, tuple[Point, ...]], ...]
    left_out: int
    limits: tuple[float, ...] = ()

    @property
    def over_time(self) -> bool:
        """Whether there is an earlier session to draw lines from."""
        return len(self.sessions) > 1


def series(report: Report) -> tuple[Series, ...]:
    """Return the most important metrics: those with bounds, the run time, then those that most entries have.

    What never changed from session to session is left out.
    """
    required = Counter(bound.metric for entry in report.entries for bound in entry.bounds if bound.limits)
    found = Counter(metric for metrics in report.samples.values() for metric in metrics)
    order = [metric for metric, _ in required.most_common()] + ["exec_time_s"] + [m for m, _ in found.most_common()]
    candidates = (_series(report, metric) for metric in dict.fromkeys(order) if metric in found)
    return tuple(islice((one for one in candidates if not (one.over_time and _is_flat(one))), MOST_PLOTS))


def _is_flat(one: Series) -> bool:
    return all(len({value for p in points for value in (p.low, p.high)}) == 1 for _, points in one.groups)


def _series(report: Report, metric: str) -> Series:
    wanted = [group for group, metrics in report.samples.items() if metric in metrics]
    past = [other for other in report.history if any(metric in other.samples.get(group, {}) for group in wanted)]
    shown = _shown(report, metric, wanted, past)
    stages: list[Samples] = [*(other.samples for other in past), report.samples]
    return Series(
        metric=metric,
        sessions=(*(_label(other) for other in past), "this session"),
        baseline=next((number for number, other in enumerate(past) if other.is_baseline), None),
        groups=tuple((group, _points(stages, group, metric)) for group in shown),
        left_out=len(wanted) - len(shown),
        limits=_limits(report, metric, shown),
    )


def _shown(report: Report, metric: str, wanted: Sequence[str], past: Sequence[PastSession]) -> list[str]:
    """Return the groups to draw; over time those that moved most against the last session that has them."""
    if len(past) < _MIN_EARLIER:
        return list(wanted[:MOST_RANGES])

    def moved(group: str) -> float:
        before = next((s for other in reversed(past) if (s := other.samples.get(group, {}).get(metric))), None)
        if before is None:
            return -1.0
        old, new = statistics.median(before), statistics.median(report.samples[group][metric])
        return abs(new - old) / (abs(old) or 1.0)

    chosen = set(sorted(wanted, key=moved, reverse=True)[:MOST_LINES])
    return [group for group in wanted if group in chosen]


def _points(stages: Sequence[Samples], group: str, metric: str) -> tuple[Point, ...]:
    return tuple(
        Point(at=at, median=statistics.median(found), low=min(found), high=max(found), count=len(found))
        for at, samples in enumerate(stages)
        if (found := samples.get(group, {}).get(metric))
    )


def _limits(report: Report, metric: str, groups: Sequence[str]) -> tuple[float, ...]:
    """Return the bounds that hold for all the groups drawn, none where they differ."""
    of_entries = {
        bound.limits
        for entry in report.entries
        if entry.group in groups
        for bound in entry.bounds
        if bound.metric == metric
    }
    return next(iter(of_entries)) if len(of_entries) == 1 else ()


def _label(past: PastSession) -> str:
    day = utc_text(past.created_at)[5:16].replace("T", " ")
    return f"baseline {day}" if past.is_baseline else day
