"""What a session is held against: earlier sessions, its baseline, and what a comparison with that says."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from oellm_bench.comparison.choosing import MOST_LOOKED_AT, Choice, Earlier, choose
from oellm_bench.comparison.compare import Comparison, Settings, compare_with
from oellm_bench.comparison.samples import Measured, measured
from oellm_bench.errors import UsageError
from oellm_bench.session import Session

DEFAULT_SESSIONS = 20


@dataclass(frozen=True, kw_only=True)
class Past:
    """A session, and those before it: `sessions` are earlier ones and the baseline, oldest first.

    `reason`: why there is no comparison.
    """

    subject: Measured
    sessions: tuple[Measured, ...] = ()
    baseline: Measured | None = None
    comparison: Comparison | None = None
    reason: str = ""

    @property
    def before(self) -> Measured | None:
        """The session to hold the environment against: the baseline, else the last one before."""
        return self.baseline or (self.sessions[-1] if self.sessions else None)


def read_past(session: Session, given: Session | None = None, most: int = DEFAULT_SESSIONS) -> Past:
    """Read `most` earlier sessions of the campaign, and compare with the given session or the campaign's baseline.

    Raises StateError where the session or the given one cannot be read.
    """
    subject = measured(session)
    earlier = Earlier(subject, max(most, MOST_LOOKED_AT))
    shown = list(itertools.islice(earlier, most))
    choice: Choice | None = None
    comparison: Comparison | None = None
    reason = ""
    try:
        choice = choose(subject, given, earlier, Settings().history)
        comparison = compare_with(subject, choice, Settings())
    except UsageError as err:
        reason = str(err)
    baseline = choice.baseline if choice is not None and not _is_same(choice.baseline, subject) else None
    sessions = _in_order(shown if baseline is None else [*shown, baseline])
    return Past(subject=subject, sessions=sessions, baseline=baseline, comparison=comparison, reason=reason)


def _is_same(one: Measured, other: Measured) -> bool:
    return one.session.session_dir == other.session.session_dir


def _in_order(found: Iterable[Measured]) -> tuple[Measured, ...]:
    unique = {one.session.session_dir: one for one in found}
    return tuple(sorted(unique.values(), key=lambda one: (one.session.created_at, one.session.id)))
