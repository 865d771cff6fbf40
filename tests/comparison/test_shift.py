"""Verdicts on simulated noise: how often they are wrong, and what must not change them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.noise import Nightly, false_alarms, missed
from oellm_bench.comparison.shift import Pair, shifts
from oellm_bench.comparison.verdict import Question, Verdict, holm, judge
from oellm_bench.core.metric import Direction

COMPARES = 60  # of 300 metrics each; 4 of 60 are what 5 % come to with a likelihood of 65 %, 8 are too many (0.4 %)
MOST_OF_60 = 7 / 60
OPPOSITE = {Verdict.WORSE: Verdict.BETTER, Verdict.BETTER: Verdict.WORSE}


def verdict(after, before, history=(), direction=Direction.LOWER, min_effect=0.02, confidence=0.95):
    pair = Pair(after=tuple(after), before=tuple(before), history=tuple(map(tuple, history)))
    (answer,) = judge([Question(pair=pair, direction=direction, min_effect=min_effect)], confidence)
    return answer


@pytest.mark.parametrize("kind", ["normal", "heavy-tailed", "skewed"])
def test_noise_raises_no_false_alarm_over_300_metrics(kind):
    found = false_alarms(Nightly(kind=kind), COMPARES)
    assert found.family <= MOST_OF_60
    assert found.metric < 0.0005


@pytest.mark.parametrize("kind", ["normal", "heavy-tailed", "skewed", "bimodal"])
def test_with_earlier_nights_no_noise_raises_a_false_alarm(kind):
    """Two modes within a session look like two levels; other nights show that they are none."""
    assert false_alarms(Nightly(kind=kind, history=10), 15).family <= 3 / 15


@pytest.mark.parametrize("drift", [0.01, 0.02])
def test_drift_between_days_is_no_regression(drift):
    assert false_alarms(Nightly(noise=0.005, drift=drift, history=10), 15).family <= 3 / 15


def test_drift_would_be_one_without_the_earlier_nights():
    """The test above can fail: samples of one night know nothing of drift."""
    assert false_alarms(Nightly(noise=0.005, drift=0.02), 5).family == 1


@pytest.mark.parametrize(
    "nightly",
    [Nightly(metrics=1), Nightly(metrics=30), Nightly(metrics=300, spread=0.0), Nightly(metrics=30, history=10)],
    ids=["alone", "among 30", "among 300 of like noise", "among 30, 10 nights known"],
)
def test_a_slowdown_of_a_tenth_is_found_in_noise_of_2_percent(nightly):
    assert missed(nightly, 60) <= 0.05


@pytest.mark.soak
@pytest.mark.parametrize(("history", "compares", "most"), [(0, 1000, 0.064), (10, 200, 0.081)])
@pytest.mark.parametrize("kind", ["normal", "heavy-tailed", "skewed"])
def test_family_wise_false_alarms_stay_below_5_percent(kind, history, compares, most):
    """`most`: 5 % and two standard errors."""
    assert false_alarms(Nightly(kind=kind, history=history), compares).family <= most


samples = st.lists(st.floats(0.5, 2.0), min_size=4, max_size=8)


@settings(max_examples=150, deadline=None)
@given(samples, samples, st.floats(1e-6, 1e6))
def test_the_unit_of_a_metric_changes_no_verdict(after, before, factor):
    plain = verdict(after, before)
    scaled = verdict([value * factor for value in after], [value * factor for value in before])
    if plain.p_adjusted is None or abs(plain.p_adjusted - 0.05) > 1e-6:  # rounding may tip what is on the edge
        assert (plain.p_adjusted is None) == (scaled.p_adjusted is None)
        if plain.p_adjusted is not None:
            assert scaled.p_adjusted == pytest.approx(plain.p_adjusted, rel=1e-3, abs=1e-9)


@settings(max_examples=150, deadline=None)
@given(samples, samples)
def test_better_one_way_is_worse_the_other_way(first, second):
    there, back = verdict(first, second), verdict(second, first)
    assert back.verdict is OPPOSITE.get(there.verdict, there.verdict)


@settings(max_examples=100, deadline=None)
@given(samples, samples, st.randoms(use_true_random=False))
def test_the_order_of_samples_is_of_no_matter(after, before, random):
    shuffled = random.sample(after, len(after))
    one, other = verdict(after, before), verdict(shuffled, before)
    assert one.verdict is other.verdict
    assert one.shift.estimate == pytest.approx(other.shift.estimate)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=6),
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=6),
)
def test_every_finite_sample_has_a_verdict_that_json_can_hold(after, before):
    answer = verdict(after, before)
    numbers = (answer.shift.estimate, answer.shift.low, answer.shift.high, answer.shift.p, answer.p_adjusted)
    assert all(number is None or math.isfinite(number) for number in numbers)


def test_the_interval_holds_the_true_difference_as_often_as_it_says():
    generator = np.random.default_rng(3)
    pairs = [
        Pair(after=tuple(generator.normal(110, 2, 5)), before=tuple(generator.normal(100, 2, 5))) for _ in range(2000)
    ]
    held = [shift.low <= 0.1 <= shift.high for shift in shifts(pairs, 0.95)]
    assert 0.93 <= np.mean(held) <= 0.97


def test_an_outlier_does_not_move_the_estimate():
    answer = verdict([100, 101, 99, 100, 500], [100, 101, 99, 100, 100])
    assert abs(answer.shift.estimate) < 0.02 and answer.verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize(
    ("direction", "wanted"),
    [(Direction.LOWER, Verdict.WORSE), (Direction.HIGHER, Verdict.BETTER), (Direction.NONE, Verdict.CHANGED)],
)
def test_the_direction_of_a_metric_says_what_a_rise_means(direction, wanted):
    assert verdict([110, 111, 109, 110], [100, 101, 99, 100], direction=direction).verdict is wanted


def test_same_is_said_only_where_the_interval_lies_within_the_minimum_effect():
    after, before = [100.1, 100.0, 99.9, 100.2], [100.0, 100.1, 99.9, 100.0]
    assert verdict(after, before).verdict is Verdict.SAME
    assert verdict(after, before, min_effect=0.0005).verdict is Verdict.INCONCLUSIVE
    assert verdict([100, 110, 90, 105], [101, 92, 108, 99]).verdict is Verdict.INCONCLUSIVE


def test_a_sure_difference_below_the_minimum_effect_is_not_worse():
    assert verdict([101.0, 101.01, 100.99, 101.0], [100.0, 100.01, 99.99, 100.0]).verdict is Verdict.SAME


def test_one_sample_on_each_side_tells_nothing():
    answer = verdict([120.0], [100.0])
    assert answer.verdict is Verdict.INCONCLUSIVE
    assert answer.reason.startswith("one sample on each side tells nothing of noise")
    assert "sweep.repeat" in answer.reason


def test_one_sample_will_do_where_earlier_sessions_tell_of_the_noise():
    history = [[100.0], [101.0], [99.5], [100.5], [99.0], [100.2]]
    assert verdict([120.0], [100.0], history).verdict is Verdict.WORSE
    assert verdict([101.0], [100.0], history).verdict is not Verdict.WORSE


def test_metrics_without_noise_are_compared_exactly():
    assert verdict([181] * 3, [181] * 3, direction=Direction.NONE).verdict is Verdict.SAME
    assert verdict([200] * 3, [181] * 3, direction=Direction.NONE).verdict is Verdict.CHANGED
    assert verdict([0.5] * 3, [0.4] * 3).verdict is Verdict.WORSE
    assert verdict([1_000_001] * 3, [1_000_000] * 3).verdict is Verdict.SAME
    assert verdict([0] * 3, [0] * 3).verdict is Verdict.SAME
    assert verdict([0] * 3, [5] * 3).verdict is Verdict.BETTER


def test_two_samples_that_agree_are_no_proof_of_no_noise():
    assert verdict([5.1, 5.1], [5.0, 5.0]).verdict is Verdict.INCONCLUSIVE


def test_negative_values_are_compared_too():
    assert verdict([-90, -91, -89, -90], [-100, -101, -99, -100]).verdict is Verdict.WORSE


def test_holm_adjusts_for_the_number_of_metrics():
    assert holm([0.01, None, 0.04, 0.03]) == pytest.approx([0.03, None, 0.06, 0.06])
