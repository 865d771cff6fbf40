"""The history of a metric: a point for each session, and where its level changed."""

from __future__ import annotations

import fnmatch
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from oellm_bench.comparison.change_points import change_points
from oellm_bench.comparison.environment import difference
from oellm_bench.comparison.samples import Measured, all_measured, median
from oellm_bench.errors import UsageError, nearest
from oellm_bench.session import Session, campaign_sessions

SCHEMA_VERSION = 1
_MOST_SESSIONS = 200  # the newest


@dataclass(frozen=True, kw_only=True)
class Point:
    """One session of a series: the median of its `n` samples, and their range."""

    session: Measured
    median: float
    low: float
    high: float
    n: int

    def to_document(self) -> dict[str, Any]:
        """Return plain JSON values."""
        of = self.session.session
        return {
            "session": of.id,
            "created": of.created,
            "commit": self.session.environment.software.get("commit", ""),
            "environment": self.session.environment.fingerprint,
            "median": self.median,
            "n": self.n,
        }


@dataclass(frozen=True, kw_only=True)
class Series:
    """The points of one metric of one entry, oldest first; `changes`: indices at which a new level begins."""

    entry: str
    metric: str
    points: tuple[Point, ...]
    changes: tuple[int, ...]

    def levels(self, change: int) -> tuple[float, float]:
        """Return the median of the points between the neighbouring changes, before and from this one on."""
        edges = [0, *self.changes, len(self.points)]
        place = edges.index(change)
        before = [point.median for point in self.points[edges[place - 1] : change]]
        after = [point.median for point in self.points[change : edges[place + 1]]]
        return median(before), median(after)

    def to_document(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "entry": self.entry,
            "metric": self.metric,
            "points": [point.to_document() for point in self.points],
            "changes": [self._change(index) for index in self.changes],
        }

    def _change(self, index: int) -> dict[str, Any]:
        before, after = self.points[index - 1], self.points[index]
        old, new = self.levels(index)
        relative = (new - old) / abs(old) if old else None
        return {
            "index": index,
            "before": before.to_document(),
            "after": after.to_document(),
            "level_before": old,
            "level_after": new,
            "difference": relative if relative is not None and math.isfinite(relative) else None,
            "environment": difference(before.session.environment, after.session.environment),
        }


def history(session: Session, metric: str, entries: Sequence[str] = ()) -> list[Series]:
    """Return the series of a metric over the campaign of a session; `entries`: patterns.

    Raises UsageError where no session has that metric, or no entry fits.
    """
    sessions = list(all_measured(campaign_sessions(session)[-_MOST_SESSIONS:]))
    names = dict.fromkeys(name for one in sessions for name in one.groups)
    wanted = [n for n in names if not entries or any(fnmatch.fnmatchcase(n, pattern) for pattern in entries)]
    if entries and not wanted:
        raise UsageError(f"no entry is called '{entries[0]}'; {nearest(entries[0], [*names])}")
    found = [series for name in wanted if (series := series_of(sessions, name, metric)).points]
    if not found:
        known = dict.fromkeys(m for one in sessions for group in one.groups.values() for m in group.figures)
        raise UsageError(f"no session of {session.project} has a metric '{metric}'; {nearest(metric, [*known])}")
    return found


def series_of(sessions: Sequence[Measured], entry: str, metric: str) -> Series:
    """Return one metric of one entry over these sessions; those that lack it have no point."""
    points = [
        Point(session=session, median=median(samples), low=min(samples), high=max(samples), n=len(samples))
        for session in sessions
        if (samples := session.samples(entry, metric))
    ]
    changes = change_points([point.median for point in points])
    return Series(entry=entry, metric=metric, points=tuple(points), changes=tuple(changes))
