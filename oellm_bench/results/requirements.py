"""Judge metrics by their bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oellm_bench.core.metric import finite_number
from oellm_bench.core.reference import Reference
from oellm_bench.core.requirement import Requirement

_LONGEST_VALUE = 60  # characters of a value that a message quotes
_DIGITS, _MOST_DIGITS = 6, 17  # significant ones; 17 tell any two floats apart


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What requirements say of metrics: `missed` fails the entry, `told` is worth knowing and fails nothing.

    `told`: misses that were expected, what is met against expectation, references that have no value.
    """

    missed: tuple[str, ...]
    told: tuple[str, ...]


def judge(requirements: Sequence[Requirement], metrics: Mapping[str, Any]) -> Judgement:
    """Hold the metrics against every requirement."""
    missed: list[str] = []
    told: list[str] = []
    for requirement in requirements:
        found = unmet([requirement], metrics)
        reason = requirement.expected_failure
        if reason:
            told.extend(f"{message} (expected: {reason})" for message in found)
        else:
            missed.extend(found)
        if requirement.is_open:
            told.append(f"{requirement.metric}: not judged against the baseline, there was none when it was planned")
        elif reason and not found:
            told.append(f"{requirement.metric}: met, though it is expected not to be ({reason}): take that out")
    return Judgement(missed=tuple(missed), told=tuple(told))


def unmet(requirements: Sequence[Requirement], metrics: Mapping[str, Any]) -> tuple[str, ...]:
    """Return one message for each bound that does not hold: measured value, bound, difference.

    A metric that is missing, not a number or not finite holds no bound. True is not 1, and 1 is not True.
    """
    messages: list[str] = []
    for requirement in requirements:
        if not is_judged(requirement):
            continue
        if requirement.metric not in metrics:
            messages.append(f"{requirement.metric}: missing, required: {required(requirement)}")
        elif requirement.exact_value is not None:
            messages.extend(_exact(requirement, metrics[requirement.metric]))
        else:
            messages.extend(_range(requirement, metrics[requirement.metric]))
    return tuple(messages)


def is_judged(requirement: Requirement) -> bool:
    """Tell whether there is a bound to hold a metric against: that of a baseline may not be known."""
    return not requirement.is_open or (requirement.min_value, requirement.max_value) != (None, None)


def limits(requirement: Requirement) -> tuple[float, ...]:
    """Return the finite numbers that a metric has to stay above or below."""
    reference = _reference(requirement)
    ends = () if reference is None else (reference.lowest, reference.highest)
    found = map(finite_number, (requirement.min_value, requirement.max_value, *ends))
    return tuple(number for number in found if number is not None)


def unit_of(requirement: Requirement) -> str:
    """Return the unit of the metric, empty where the requirement does not say."""
    return requirement.relative.unit if requirement.relative is not None else ""


def required(requirement: Requirement) -> str:
    """Return what a metric has to be, in words."""
    bounds = {
        "min_value": requirement.min_value,
        "max_value": requirement.max_value,
        "exact_value": requirement.exact_value,
    }
    given = [f"{name} {_shown(value)}" for name, value in bounds.items() if value is not None]
    reference = _reference(requirement)
    if reference is not None:
        ends = (("at least", reference.lowest), ("at most", reference.highest))
        given.extend(f"{word} {_shown(end)} {reference.unit}".rstrip() for word, end in ends if end is not None)
    return " and ".join(given) or ("relative to the baseline" if requirement.is_open else "to be there")


def _exact(requirement: Requirement, value: Any) -> list[str]:
    wanted = requirement.exact_value
    if _kind(value) == _kind(wanted) and value == wanted:
        return []
    shown, bound = _apart(value, wanted)
    text = f"{requirement.metric}: {shown} is not exact_value {bound}"
    if _is_number(value) and isinstance(wanted, int | float) and _is_number(wanted):
        text += f", off by {_difference(abs(value - wanted), wanted)}"
    return [text]


def _range(requirement: Requirement, value: Any) -> list[str]:
    name, low, high = requirement.metric, requirement.min_value, requirement.max_value
    if not _is_number(value):
        return [f"{name}: {_shown(value)} is not a finite number, required: {required(requirement)}"]
    messages = []
    # `not >=` rather than `<`: a bound that is NaN then never holds.
    if low is not None and not value >= low:
        shown, bound = _apart(value, low)
        messages.append(f"{name}: {shown} is below min_value {bound} by {_difference(low - value, low)}")
    if high is not None and not value <= high:
        shown, bound = _apart(value, high)
        messages.append(f"{name}: {shown} is above max_value {bound} by {_difference(value - high, high)}")
    return [*messages, *_against_reference(requirement, value)]


def _against_reference(requirement: Requirement, value: float) -> list[str]:
    reference = _reference(requirement)
    if reference is None:
        return []
    name, unit = requirement.metric, f" {reference.unit}" if reference.unit else ""
    low, high = reference.lowest, reference.highest
    if low is not None and not value >= low:
        word, bound, share = "below", low, reference.lower
    elif high is not None and not value <= high:
        word, bound, share = "above", high, reference.upper
    else:
        return []
    source = f", of baseline {requirement.reference_session}" if requirement.reference_session else ""
    told = f"reference {_shown(reference.value)}{unit} {100 * (share or 0.0):+.4g} %"
    off = _difference(abs(value - (reference.value or 0.0)), reference.value or 0.0, unit)
    by = _difference(abs(value - bound), bound, unit)
    shown, limit = _apart(value, bound)
    return [f"{name}: {shown}{unit} is {word} {limit}{unit} by {by}; {told}{source}, off by {off}"]


def _reference(requirement: Requirement) -> Reference | None:
    """Return the reference with its value, None where there is none, or one whose value is not known."""
    return None if requirement.is_open else requirement.relative


def _difference(amount: float, bound: float, unit: str = "") -> str:
    share = f" ({100 * amount / abs(bound):.1f} %)" if bound and math.isfinite(bound) else ""
    return f"{amount:.6g}{unit}{share}"


def _is_number(value: Any) -> bool:
    return finite_number(value) is not None


def _kind(value: Any) -> type:
    """Return the type to compare by: 1 and 1.0 are one kind, True is another."""
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def _apart(value: Any, bound: Any) -> tuple[str, str]:
    """Return both as they are shown, with so many digits that they differ."""
    found = ((_shown(value, digits), _shown(bound, digits)) for digits in range(_DIGITS, _MOST_DIGITS + 1))
    return next((texts for texts in found if texts[0] != texts[1]), (_shown(value), _shown(bound)))


def _shown(value: Any, digits: int = _DIGITS) -> str:
    if not _is_number(value):
        text = repr(value)
    else:
        whole = len(str(abs(int(value))))
        text = f"{value:.{whole if digits < whole <= _MOST_DIGITS else digits}g}"
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."
