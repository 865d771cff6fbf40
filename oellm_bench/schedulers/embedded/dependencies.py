"""When a job may start after others: sbatch's --dependency.

Source: sbatch(1), --dependency.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from oellm_bench.core.job import JobId, JobState

_KINDS = ("after", "afterany", "afterok", "afternotok", "aftercorr")
_REFERENCE = re.compile(r"(?P<id>\d+(?:_\d+)?)(?:\+(?P<minutes>\d+))?")


class Verdict(enum.Enum):
    """Whether a dependency lets its job start."""

    SATISFIED = "satisfied"
    WAITING = "waiting"
    NEVER = "never"


@dataclass(frozen=True, kw_only=True)
class Fate:
    """What became of a job that others wait for."""

    state: JobState
    started_at: float | None


@dataclass(frozen=True, kw_only=True)
class Term:
    """One condition on one job (or on all tasks of an array); `singleton` has no job."""

    kind: str
    job_id: JobId | None = None
    delay_s: int = 0


@dataclass(frozen=True, kw_only=True)
class Dependency:
    """Conditions of which one (`any_of`) or all must hold."""

    terms: tuple[Term, ...] = ()
    any_of: bool = False


def parse_dependency(text: str) -> Dependency:
    """Read `afterok:1:2_3,afterany:4` (all must hold) or `afterok:1?afterany:4` (one is enough).

    Raises ValueError.
    """
    if "," in text and "?" in text:
        raise ValueError(f"'{text}' mixes ',' and '?'")
    terms = [term for part in re.split("[,?]", text) if part for term in _terms(part)]
    return Dependency(terms=tuple(terms), any_of="?" in text)


def judge(
    dependency: Dependency,
    fates: Callable[[JobId], Sequence[Fate]],
    *,
    task: int | None,
    is_first_of_name: Callable[[], bool],
    now: float,
) -> Verdict:
    """Return the verdict; `fates` gives a job's tasks, and nothing for a job that is no longer known.

    `task` is the waiting job's own array index: aftercorr looks at its counterpart. `is_first_of_name`
    tells whether no unfinished job of the same name was submitted earlier.
    """
    verdicts = []
    for term in dependency.terms:
        if term.job_id is None:
            verdicts.append(Verdict.SATISFIED if is_first_of_name() else Verdict.WAITING)
        else:
            counterpart = JobId(term.job_id.job, task) if term.kind == "aftercorr" else term.job_id
            verdicts.append(_judge_term(term, fates(counterpart), now))
    return _combine(verdicts, any_of=dependency.any_of)


def _terms(part: str) -> list[Term]:
    kind, *references = part.split(":")
    if kind == "singleton" and not references:
        return [Term(kind=kind)]
    if kind not in _KINDS or not references:
        raise ValueError(f"'{part}' is not a dependency")
    terms = []
    for reference in references:
        match = _REFERENCE.fullmatch(reference)
        if match is None:
            raise ValueError(f"'{reference}' is not a job id")
        delay_s = int(match["minutes"] or 0) * 60
        terms.append(Term(kind=kind, job_id=JobId.parse(match["id"]), delay_s=delay_s))
    return terms


def _judge_term(term: Term, fates: Sequence[Fate], now: float) -> Verdict:
    if term.kind == "after":
        begun = all(
            fate.state.is_terminal or (fate.started_at is not None and fate.started_at + term.delay_s <= now)
            for fate in fates
        )
        return Verdict.SATISFIED if begun else Verdict.WAITING
    failed = any(fate.state.is_terminal and fate.state is not JobState.COMPLETED for fate in fates)
    ended = all(fate.state.is_terminal for fate in fates)
    if term.kind in ("afterok", "aftercorr") and failed:
        return Verdict.NEVER
    if not ended:
        return Verdict.WAITING
    if term.kind == "afternotok" and fates and not failed:
        return Verdict.NEVER
    return Verdict.SATISFIED


def _combine(verdicts: Sequence[Verdict], *, any_of: bool) -> Verdict:
    decisive = Verdict.SATISFIED if any_of else Verdict.NEVER
    if decisive in verdicts:
        return decisive
    if Verdict.WAITING in verdicts:
        return Verdict.WAITING
    return verdicts[0] if verdicts else Verdict.SATISFIED
