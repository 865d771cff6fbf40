"""Requirements relative to a value, and misses that are expected."""

from __future__ import annotations

import math
from typing import Any

import pytest

from oellm_bench.core.reference import parse_reference
from oellm_bench.core.requirement import Requirement, requirement_problems
from oellm_bench.results.requirements import judge, unmet

HELD = [
    ([1130, "-5 %", "+5 %", "rows/s"], 1130),
    ([1130, "-5 %", "+5 %", "rows/s"], 1073.5),
    ([1130, "-5 %", None], 99999),
    ([1130, None, "5%"], -99999),
    ([1000, -0.05, 0.05], 950),
    ("1130, -5 %, +5 %, rows/s", 1186.5),
    ("1130, null, +5 %", 0),
    ([-100, "-10 %", "+10 %"], -110),
    ([0, "-5 %", "+5 %"], 0),
]


@pytest.mark.parametrize(("reference", "value"), HELD)
def test_a_value_within_its_reference_is_met(reference: Any, value: float) -> None:
    assert unmet([Requirement(metric="m", reference=reference)], {"m": value}) == ()


def test_the_message_names_value_bound_difference_and_unit() -> None:
    requirement = Requirement(metric="rate", reference=[1130, "-5 %", "+5 %", "rows/s"])
    assert unmet([requirement], {"rate": 1040}) == (
        "rate: 1040 rows/s is below 1073.5 rows/s by 33.5 rows/s (3.1 %); reference 1130 rows/s -5 %, "
        "off by 90 rows/s (8.0 %)",
    )


def test_the_message_names_the_session_of_the_baseline() -> None:
    requirement = Requirement(metric="t", reference=[10, None, 0.1, "s"], reference_session="n_1")
    (message,) = unmet([requirement], {"t": 12})
    assert message == "t: 12 s is above 11 s by 1 s (9.1 %); reference 10 s +10 %, of baseline n_1, off by 2 s (20.0 %)"


@pytest.mark.parametrize("value", [math.nan, math.inf, "fast", None, True])
def test_what_is_no_number_meets_no_reference(value: Any) -> None:
    assert len(unmet([Requirement(metric="m", reference=[0, "-5 %", "+5 %"])], {"m": value})) == 1


def test_a_missing_metric_is_told_with_the_bounds() -> None:
    assert unmet([Requirement(metric="m", reference=[100, "-5 %", None, "W"])], {}) == (
        "m: missing, required: at least 95 W",
    )


def test_without_a_baseline_nothing_is_judged_and_that_is_told() -> None:
    found = judge([Requirement(metric="m", reference="baseline, -5 %, +5 %")], {"m": 1})
    assert found.missed == ()
    assert found.told == ("m: not judged against the baseline, there was none when it was planned",)


def test_other_bounds_hold_even_where_the_baseline_is_missing() -> None:
    found = judge([Requirement(metric="m", reference=["baseline", "-5 %", None], min_value=5)], {"m": 1})
    assert found.missed == ("m: 1 is below min_value 5 by 4 (80.0 %)",)


def test_two_requirements_on_one_metric_both_hold() -> None:
    requirements = [Requirement(metric="m", min_value=5), Requirement(metric="m", reference=[2, "-50 %", None])]
    assert len(judge(requirements, {"m": 0.5}).missed) == 2


def test_an_expected_miss_fails_nothing_and_being_met_is_told() -> None:
    requirement = Requirement(metric="m", min_value=5, expected_failure="issue 7")
    assert judge([requirement], {"m": 1}).missed == ()
    assert judge([requirement], {"m": 1}).told == ("m: 1 is below min_value 5 by 4 (80.0 %) (expected: issue 7)",)
    assert judge([requirement], {"m": 6}).told == ("m: met, though it is expected not to be (issue 7): take that out",)


WRONG = [
    ("1130", "2 to 4 parts"),
    ([1, 2, 3, 4, 5], "2 to 4 parts"),
    ([1130, None, None], "open on both sides"),
    ([1130, "+5 %", None], "lower bound '+5 %'"),
    ([1130, "-200 %", None], "lower bound '-200 %'"),
    ([1130, None, "-5 %"], "upper bound '-5 %'"),
    (["fast", "-5 %", None], "neither a number nor 'baseline'"),
    ([math.nan, "-5 %", None], "neither a number"),
    ([True, "-5 %", None], "neither a number"),
    ([1130, -5, 5], "would be -500%"),
    ([1130, "a bit", None], "no percentage"),
    ([1130, math.nan, None], "no percentage"),
]


@pytest.mark.parametrize(("given", "message"), WRONG)
def test_a_reference_that_makes_no_sense_is_refused(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_reference(given)
    assert message in str(caught.value)


CONTRADICTIONS = [
    ({"min_value": 2.0, "max_value": 1.0}, "min_value 2.0 is above max_value 1.0"),
    ({"min_value": math.nan}, "min_value is NaN"),
    ({"exact_value": math.nan}, "exact_value is NaN"),
    ({"exact_value": 1, "max_value": 2.0}, "exact_value stands beside another bound"),
    ({"exact_value": 1, "reference": [1, "-5 %", None]}, "exact_value stands beside another bound"),
    ({"reference": [1, "5 %", None]}, "lower bound"),
]


@pytest.mark.parametrize(("bounds", "message"), CONTRADICTIONS)
def test_contradictory_bounds_are_problems_of_the_configuration(bounds: dict[str, Any], message: str) -> None:
    (problem,) = requirement_problems([Requirement(metric="m", **bounds)])
    assert message in problem.what
    assert problem.where.startswith("requirements.0")
