"""Changes of level in the history of a metric."""

from __future__ import annotations

import numpy as np
import pytest

from oellm_bench.cli.history import sparkline
from oellm_bench.comparison.change_points import change_points


def noise(count, level, seed):
    return list(np.random.default_rng(seed).normal(level, 1, count))


def test_a_change_of_level_is_found_where_it_is():
    assert change_points(noise(15, 100, 1) + noise(15, 110, 2)) == [15]


def test_several_changes_are_found():
    assert change_points(noise(12, 100, 1) + noise(12, 120, 2) + noise(12, 105, 3)) == [12, 24]


def test_noise_has_no_change():
    found = [bool(change_points(noise(30, 100, seed))) for seed in range(60)]
    assert sum(found) <= 3  # 1 % is aimed at; more than 3 of 60 have a likelihood of 0.3 %


def test_heavy_tails_have_no_change():
    series = [list(np.random.default_rng(seed).standard_t(2, 30)) for seed in range(60)]
    assert sum(bool(change_points(one)) for one in series) <= 3


def test_an_outlier_is_no_change():
    assert change_points([*noise(10, 100, 1), 500.0, *noise(10, 100, 2)]) == []


@pytest.mark.parametrize("series", [[], [1.0], [1.0] * 5, [1.0] * 30])
def test_short_and_constant_series_have_no_change(series):
    assert change_points(series) == []


def test_the_answer_is_the_same_each_time():
    series = noise(15, 100, 1) + noise(15, 102, 2)
    assert change_points(series) == change_points(series)


def test_the_line_has_a_mark_for_each_value():
    assert sparkline([1, 2, 3], "abc") == "abc"
    assert sparkline([5, 5], "abc") == "bb"
    assert len(sparkline([-1.7e308, 1.7e308])) == 2
