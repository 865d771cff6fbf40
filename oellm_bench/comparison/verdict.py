"""From samples to verdicts: better, same, worse, changed or inconclusive. Pure."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from oellm_bench.comparison.shift import Pair, Shift, distance, is_logarithmic, shifts
from oellm_bench.core.metric import Direction

_FEWEST_EXACT = 3  # samples on each side that all agree, for a metric to be taken for one without noise


class Verdict(enum.Enum):
    """What is to be said of a metric; CHANGED where no value of it is better than another."""

    WORSE = "worse"
    BETTER = "better"
    CHANGED = "changed"
    SAME = "same"
    INCONCLUSIVE = "inconclusive"


@dataclass(frozen=True, kw_only=True)
class Question:
    """One metric of one entry, to be judged."""

    pair: Pair
    direction: Direction
    min_effect: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A verdict with its grounds; `p_adjusted` is what is held against 1 - confidence (Holm)."""

    verdict: Verdict
    shift: Shift
    p_adjusted: float | None
    reason: str


def judge(questions: Sequence[Question], confidence: float) -> list[Answer]:
    """Judge a family of metrics: false alarms are held down over all of them together."""
    exact = [_exact(question) for question in questions]
    open_ones = [question for question, answer in zip(questions, exact, strict=True) if answer is None]
    measured = shifts([question.pair for question in open_ones], confidence)
    adjusted = holm([shift.p for shift in measured])
    answers = iter(
        _answer(question, shift, p, 1 - confidence)
        for question, shift, p in zip(open_ones, measured, adjusted, strict=True)
    )
    return [next(answers) if answer is None else answer for answer in exact]


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Return p values adjusted for their number, by Holm's method; None stays None and does not count."""
    known = sorted((p, index) for index, p in enumerate(values) if p is not None)
    adjusted: list[float | None] = [None] * len(values)
    highest = 0.0
    for rank, (p, index) in enumerate(known):
        highest = max(highest, min(1.0, p * (len(known) - rank)))
        adjusted[index] = highest
    return adjusted


def _exact(question: Question) -> Answer | None:
    """Return the verdict on a metric without noise, None for all others."""
    pair = question.pair
    after, before, *history = (set(values) for values in (pair.after, pair.before, *pair.history))
    if len(after) > 1 or len(before) > 1 or any(len(values) > 1 for values in history):
        return None
    if after == before:
        shift = Shift(estimate=0.0, low=0.0, high=0.0)
        return Answer(verdict=Verdict.SAME, shift=shift, p_adjusted=None, reason="identical")
    steady = len({*before, *(value for values in history for value in values)}) == 1
    if min(len(pair.after), len(pair.before)) < _FEWEST_EXACT and not (steady and len(history) >= _FEWEST_EXACT):
        return None
    (shift,) = shifts([pair], 0.5)
    if not steady or shift.estimate is None:
        return None
    estimate = shift.estimate
    shift = Shift(estimate=estimate, low=estimate, high=estimate, p=0.0)
    if not _matters(estimate, question):
        reason = f"without noise, and the difference is below {_percent(question.min_effect)}"
        return Answer(verdict=Verdict.SAME, shift=shift, p_adjusted=0.0, reason=reason)
    verdict = _directed(estimate, question.direction)
    return Answer(verdict=verdict, shift=shift, p_adjusted=0.0, reason="without noise: every sample agrees")


def _answer(question: Question, shift: Shift, p: float | None, alpha: float) -> Answer:
    verdict, reason = Verdict.INCONCLUSIVE, shift.reason
    if shift.estimate is not None and p is not None:
        verdict, reason = _verdict(question, shift, p, alpha)
    return Answer(verdict=verdict, shift=shift, p_adjusted=p, reason=reason)


def _verdict(question: Question, shift: Shift, p: float, alpha: float) -> tuple[Verdict, str]:
    assert shift.estimate is not None
    effect = _percent(question.min_effect)
    if p < alpha and _matters(shift.estimate, question):
        return _directed(shift.estimate, question.direction), ""
    if _is_within(shift, question):
        return Verdict.SAME, f"any difference is below {effect}"
    if p < alpha:
        return Verdict.INCONCLUSIVE, f"there is a difference, and it may be below {effect}"
    if _matters(shift.estimate, question):
        return Verdict.INCONCLUSIVE, f"the difference may be noise (p = {p:.2g} over all metrics): repeat more often"
    return Verdict.INCONCLUSIVE, f"too noisy to rule a difference of {effect} out: repeat more often"


def _matters(estimate: float | None, question: Question) -> bool:
    if estimate is None:
        return False
    is_log = is_logarithmic(question.pair)
    return abs(distance(estimate, is_log=is_log)) >= distance(question.min_effect, is_log=is_log)


def _is_within(shift: Shift, question: Question) -> bool:
    ends = (shift.low, shift.high)
    return question.min_effect > 0 and all(end is not None and not _matters(end, question) for end in ends)


def _directed(estimate: float, direction: Direction) -> Verdict:
    if direction is Direction.NONE:
        return Verdict.CHANGED
    return Verdict.BETTER if (estimate > 0) == (direction is Direction.HIGHER) else Verdict.WORSE


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
