from __future__ import annotations

import math
from typing import Any

import pytest

from oellm_bench.core.requirement import Requirement
from oellm_bench.results.requirements import unmet

MET = [
    ({"min_value": 900}, 900),
    ({"min_value": 900}, 900.5),
    ({"max_value": 10}, 10),
    ({"min_value": 1, "max_value": 2}, 1.5),
    ({"exact_value": True}, True),
    ({"exact_value": False}, False),
    ({"exact_value": 1}, 1.0),
    ({"exact_value": 0}, 0),
    ({"exact_value": "done"}, "done"),
    ({"min_value": -5.0}, -5),
    ({}, 0),
]

REFERENCE = "m: 911.943 rows/s is below 950 rows/s by 38.0568 rows/s (4.0 %); "
REFERENCE += "reference 1000 rows/s -5 %, off by 88.0568 rows/s (8.8 %)"
UNMET = [
    ({"min_value": 900}, 812.4, "m: 812.4 is below min_value 900 by 87.6 (9.7 %)"),
    ({"min_value": 900}, 894.183897548, "m: 894.184 is below min_value 900 by 5.8161 (0.6 %)"),
    ({"reference": [1000, -0.05, None, "rows/s"]}, 911.94321, REFERENCE),
    ({"max_value": 2.5}, 2.50000001, "m: 2.50000001 is above max_value 2.5 by 1e-08 (0.0 %)"),
    ({"min_value": 123456789}, 123456788.25, "m: 123456788 is below min_value 123456789 by 0.75 (0.0 %)"),
    ({"max_value": math.nan}, 1.23456789, "m: 1.23457 is above max_value nan by nan"),
    ({"max_value": 2}, 3, "m: 3 is above max_value 2 by 1 (50.0 %)"),
    ({"max_value": 0}, 3, "m: 3 is above max_value 0 by 3"),
    ({"min_value": -2}, -3, "m: -3 is below min_value -2 by 1 (50.0 %)"),
    ({"min_value": 1}, "many", "m: 'many' is not a finite number, required: min_value 1"),
    ({"min_value": 1}, None, "m: None is not a finite number, required: min_value 1"),
    ({"min_value": 0}, True, "m: True is not a finite number, required: min_value 0"),
    ({"min_value": 0}, math.nan, "m: nan is not a finite number, required: min_value 0"),
    ({"min_value": 0}, math.inf, "m: inf is not a finite number, required: min_value 0"),
    ({"max_value": 0}, -math.inf, "m: -inf is not a finite number, required: max_value 0"),
    ({"exact_value": True}, 1, "m: 1 is not exact_value True"),
    ({"exact_value": 1}, True, "m: True is not exact_value 1"),
    ({"exact_value": False}, 0, "m: 0 is not exact_value False"),
    ({"exact_value": 4}, 5, "m: 5 is not exact_value 4, off by 1 (25.0 %)"),
    ({"exact_value": 0}, 0.5, "m: 0.5 is not exact_value 0, off by 0.5"),
    ({"exact_value": "1"}, 1, "m: 1 is not exact_value '1'"),
    ({"exact_value": "nan"}, math.nan, "m: nan is not exact_value 'nan'"),
    ({"exact_value": math.nan}, math.nan, "m: nan is not exact_value nan"),
    ({"exact_value": "x" * 99}, "x" * 98, f"m: '{'x' * 59}... is not exact_value '{'x' * 59}..."),
    ({}, math.nan, "m: nan is not a finite number, required: to be there"),
]


@pytest.mark.parametrize(("bounds", "value"), MET)
def test_bound_holds(bounds: dict[str, Any], value: Any) -> None:
    assert unmet([Requirement(metric="m", **bounds)], {"m": value}) == ()


@pytest.mark.parametrize(("bounds", "value", "message"), UNMET)
def test_message_names_value_bound_and_difference(bounds: dict[str, Any], value: Any, message: str) -> None:
    assert unmet([Requirement(metric="m", **bounds)], {"m": value}) == (message,)


def test_missing_metric_names_every_bound() -> None:
    requirement = Requirement(metric="m", min_value=1, max_value=2.5)
    assert unmet([requirement], {"n": 1}) == ("m: missing, required: min_value 1 and max_value 2.5",)


def test_integer_beyond_every_float_is_no_number() -> None:
    (message,) = unmet([Requirement(metric="m", min_value=1)], {"m": 10**400})
    assert "is not a finite number" in message


def test_all_unmet_bounds_are_reported_in_order() -> None:
    requirements = [Requirement(metric="b", min_value=2), Requirement(metric="a", max_value=0)]
    assert [text[0] for text in unmet(requirements, {"a": 1, "b": 1})] == ["b", "a"]
