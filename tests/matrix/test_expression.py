"""Which entries `--entries` means."""

from __future__ import annotations

import pytest

from oellm_bench.errors import UsageError
from oellm_bench.matrix.expression import matching

NAMES = ["dedup_xenna", "dedup_xenna_repeat", "Removal_A", "alm_ray_data", "alm_ray_actors", "order"]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("dedup_xenna", ["dedup_xenna"]),  # a name means itself, not what it is a part of
        ("dedup", ["dedup_xenna", "dedup_xenna_repeat"]),
        ("removal", ["Removal_A"]),
        ("REMOVAL", ["Removal_A"]),
        ("alm_*", ["alm_ray_data", "alm_ray_actors"]),
        ("alm and not actors", ["alm_ray_data"]),
        ("not (alm or dedup)", ["Removal_A", "order"]),
        ("alm_ray_data,order", ["alm_ray_data", "order"]),
        ("order or dedup and repeat", ["dedup_xenna_repeat", "order"]),
        ("order", ["order"]),
        ("not not order", ["order"]),
    ],
)
def test_words_operators_and_brackets(expression, expected):
    assert matching(expression, NAMES) == expected


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("", "a name is missing at the end"),
        ("alm and", "a name is missing at the end"),
        ("and alm", "a name is missing before 'and'"),
        ("(alm", "a bracket is not closed"),
        ("alm)", "'\\)' is not expected there"),
        ("alm dedup", "'dedup' is not expected there"),
        ("dedup_xena_", "no entry fits 'dedup_xena_'; did you mean 'dedup_xenna'"),
        ("alm and not alm", "leaves none of the 6 entries"),
        ("__import__('os')", "no entry fits '__import__'"),
    ],
)
def test_an_expression_that_is_none_or_fits_nothing_is_refused(expression, said):
    with pytest.raises(UsageError, match=said):
        matching(expression, NAMES)
