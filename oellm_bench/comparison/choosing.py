"""Which session a session is compared with, and which earlier ones tell of the spread between sessions."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from oellm_bench.comparison.baseline import Baseline, read_baseline
from oellm_bench.comparison.samples import Measured, all_measured, measured
from oellm_bench.errors import BenchError, UsageError
from oellm_bench.session import Session, campaign_sessions, read_session

MOST_LOOKED_AT = 50  # earlier sessions; older ones tell of another time


@dataclass(frozen=True, kw_only=True)
class Choice:
    """A baseline, and why it is that one; `history`: sessions before both on the same hardware, the newest first."""

    baseline: Measured
    why: str
    history: tuple[Measured, ...] = ()


def choose(subject: Measured, given: Session | None, earlier: Earlier, most: int) -> Choice:
    """Return the baseline: the given one, else the campaign's own, else the last good one before the session.

    `most`: how many sessions of history. Raises UsageError where there is nothing to compare with.
    """
    baseline, why = _baseline(subject, given, earlier)
    # Those after the baseline are under suspicion themselves: a change that stays would pass for noise.
    like = (other for other in earlier.before(baseline) if other.finished)
    alike = (other for other in like if other.environment.fingerprint == subject.environment.fingerprint)
    return Choice(baseline=baseline, why=why, history=tuple(itertools.islice(alike, most)))


class Earlier:
    """The sessions of the campaign before a session, the newest first; each is read once, and only when asked for.

    `most`: how many of them there are at the most, counted from the session, or from one before it.
    """

    def __init__(self, subject: Measured, most: int = MOST_LOOKED_AT) -> None:
        self._sessions = [s for s in reversed(campaign_sessions(subject.session)) if _is_before(s, subject.session)]
        self._most = most
        self._read: dict[str, Measured | None] = {}

    def __iter__(self) -> Iterator[Measured]:
        return self._measured(self._sessions)

    def before(self, other: Measured) -> Iterator[Measured]:
        """Yield those that are also before the other session."""
        return self._measured([session for session in self._sessions if _is_before(session, other.session)])

    def _measured(self, sessions: Sequence[Session]) -> Iterator[Measured]:
        for session in sessions[: self._most]:
            if session.session_dir not in self._read:
                self._read[session.session_dir] = next(all_measured([session]), None)
            found = self._read[session.session_dir]
            if found is not None:
                yield found


def _is_before(one: Session, other: Session) -> bool:
    return (one.created_at, one.id) < (other.created_at, other.id)


def _baseline(subject: Measured, given: Session | None, earlier: Iterable[Measured]) -> tuple[Measured, str]:
    if given is not None:
        return measured(given), "it was asked for"
    session = subject.session
    chosen = read_baseline(session.state_layout, session.project)
    if chosen is not None and chosen.session != session.id:
        return _chosen(chosen, session.project), f"it is the baseline of {session.project}"
    newest: Measured | None = None
    for other in (other for other in earlier if other.is_good):
        if other.environment.fingerprint == subject.environment.fingerprint:
            return other, "it is the last good session before this one, on the same hardware"
        newest = newest or other
    if newest is not None:
        return newest, "it is the last good session before this one; none was on the same hardware"
    what = f"{session.id} has no baseline, and no good session of {session.project} is older"
    raise UsageError(f"{what}; name a session to compare with, or choose one with `oellm-bench baseline set SESSION`")


def _chosen(chosen: Baseline, project: str) -> Measured:
    try:
        return measured(read_session(Path(chosen.session_dir)))
    except BenchError as err:
        fix = f"choose another one, or `oellm-bench baseline clear {project}`"
        raise UsageError(f"the baseline of {project} cannot be read ({err}); {fix}") from err
