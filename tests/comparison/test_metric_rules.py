"""What is good for a metric, by its name and by rules."""

from __future__ import annotations

import pytest

from oellm_bench.core.expectation import expectation_note, is_as_expected
from oellm_bench.core.metric import Direction, MetricRule, direction_of, min_effect_of, parse_effect

HIGHER = (
    "throughput tokens_per_s tokens_per_gpu_per_second files_per_s train/tokens_per_sec_mean accuracy mmlu_score mfu "
    "speedup throughput_rows val_accuracy TFLOPS steps_per_second gpu_efficiency"
)
LOWER = (
    "exec_time_s step_time time_to_first_token loss val_loss latency latency_p99 error_rate errors peak_rss_bytes "
    "memory_gb cpu_s iteration_ms eval/loss total_time_mean startup_seconds perplexity"
)
NONE = "windows files batch_size is_success n steps rank gpu_utilization_percent"


@pytest.mark.parametrize("name", HIGHER.split())
def test_more_is_better(name):
    assert direction_of(name, {}) is Direction.HIGHER


@pytest.mark.parametrize("name", LOWER.split())
def test_less_is_better(name):
    assert direction_of(name, {}) is Direction.LOWER


@pytest.mark.parametrize("name", NONE.split())
def test_nothing_is_better(name):
    assert direction_of(name, {}) is Direction.NONE


def test_the_first_rule_that_fits_counts():
    rules = {"loss": MetricRule(min_effect="5 %"), "l*": MetricRule(direction="none", min_effect=0.5)}
    assert direction_of("loss", rules) is Direction.NONE
    assert min_effect_of("loss", rules, 0.02) == 0.05
    assert min_effect_of("rate", rules, 0.02) == 0.02


@pytest.mark.parametrize(("given", "share"), [("5 %", 0.05), ("5%", 0.05), (0.05, 0.05), ("0.05", 0.05), (0, 0.0)])
def test_effects_are_shares_or_percentages(given, share):
    assert parse_effect(given) == pytest.approx(share)


@pytest.mark.parametrize("given", ["lots", "-5 %", "nan", "inf", True, "2000 %"])
def test_other_effects_are_refused(given):
    with pytest.raises(ValueError, match="is no share of a value"):
        parse_effect(given)


@pytest.mark.parametrize(
    ("expected_failure", "mode", "as_expected"),
    [
        ("", "success", True),
        ("", "crash", False),
        ("", "", False),
        ("issue 7", "crash", True),
        ("issue 7", "timeout", True),
        ("issue 7", "requirements_not_met", True),
        ("issue 7", "success", False),
        ("issue 7", "cancelled", False),
        ("issue 7", "lost", False),
        ("issue 7", "submit_rejected", False),
        ("issue 7", "", False),
    ],
)
def test_an_entry_does_what_is_expected_of_it_or_not(expected_failure, mode, as_expected):
    assert is_as_expected(expected_failure, mode) is as_expected


def test_what_passes_against_expectation_is_told():
    assert "take expected_failure out" in expectation_note("issue 7", "success")
    assert expectation_note("issue 7", "crash") == "expected to fail: issue 7"
    assert expectation_note("", "crash") == expectation_note("issue 7", "cancelled") == ""
