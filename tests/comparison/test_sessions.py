"""Sessions on disk that are compared, followed over time, and chosen as baselines."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.recorded import MACHINE, record
from oellm_bench.comparison.baseline import Baseline, read_baseline, write_baseline
from oellm_bench.comparison.choosing import MOST_LOOKED_AT
from oellm_bench.comparison.compare import Comparison, Settings, compare
from oellm_bench.comparison.references import with_references
from oellm_bench.comparison.samples import measured
from oellm_bench.comparison.series import history
from oellm_bench.comparison.verdict import Verdict
from oellm_bench.core.metric import MetricRule
from oellm_bench.core.plan import read_plan
from oellm_bench.core.requirement import Requirement
from oellm_bench.core.result import ErrorMode
from oellm_bench.errors import StateError, UsageError
from oellm_bench.session import Session

Recorder = Callable[..., Session]


def runs(level: float, *, seed: int = 1, count: int = 5, **more: Any) -> list[dict[str, Any]]:
    generator = np.random.default_rng(seed)
    return [{"tokens_per_s": float(level * generator.normal(1, 0.005)), **more} for _ in range(count)]


@pytest.fixture
def night(tmp_path: Path) -> Recorder:
    """Record a session of one day."""

    def recorded(day: int, groups: Mapping[str, Sequence[Any]], **more: Any) -> Session:
        return record(tmp_path / "it's out", groups, day=day, **more)

    return recorded


def verdicts(comparison: Comparison) -> dict[tuple[str, str], Verdict]:
    return {(row.entry, row.metric): row.answer.verdict for row in comparison.rows}


def test_a_slower_session_is_worse_and_a_faster_one_better(night: Recorder) -> None:
    night(1, {"a": runs(1000), "b": runs(500, seed=2)})
    found = compare(night(2, {"a": runs(900, seed=3), "b": runs(600, seed=4)}), None, Settings())
    assert verdicts(found) == {("a", "tokens_per_s"): Verdict.WORSE, ("b", "tokens_per_s"): Verdict.BETTER}
    assert found.is_worse
    assert found.choice.why == "it is the last good session before this one, on the same hardware"


def test_the_chosen_baseline_comes_before_the_last_good_session(night: Recorder) -> None:
    first = night(1, {"a": runs(1000)})
    night(2, {"a": runs(900, seed=2)})
    last = night(3, {"a": runs(900, seed=3)})
    assert not compare(last, None, Settings()).is_worse
    write_baseline(first.state_layout, "p", Baseline(session=first.id, session_dir=first.session_dir, set_at=1.0))
    found = compare(last, None, Settings())
    assert found.is_worse and found.choice.why == "it is the baseline of p"
    assert not compare(last, night(4, {"a": runs(900, seed=4)}), Settings()).is_worse


def test_a_failed_session_is_no_baseline_and_the_same_hardware_comes_first(night: Recorder) -> None:
    night(1, {"a": runs(1000)})
    other = {**MACHINE, "cpu": {"model": "another", "logical": 4}}
    night(2, {"a": runs(800, seed=2)}, machine=other)
    night(3, {"a": [ErrorMode.CRASH, *runs(700, seed=3, count=4)]})
    found = compare(night(4, {"a": runs(1000, seed=4)}), None, Settings())
    assert found.choice.baseline.session.id == "p_day001"
    elsewhere = compare(
        night(5, {"a": runs(800, seed=5)}, machine={**MACHINE, "memory_bytes": 1 << 30}), None, Settings()
    )
    assert elsewhere.choice.baseline.session.id == "p_day004"
    assert elsewhere.choice.why.endswith("none was on the same hardware")
    assert {"what": "hardware", "before": "8 x CPU, 16 GiB", "after": "8 x CPU, 1 GiB"} in elsewhere.environment


def test_there_is_nothing_to_compare_the_first_session_with(night: Recorder) -> None:
    with pytest.raises(UsageError, match="no good session of p is older"):
        compare(night(1, {"a": runs(1000)}), None, Settings())


def test_a_session_that_is_not_over_is_not_compared(night: Recorder) -> None:
    night(1, {"a": runs(1000)})
    session = night(2, {"a": runs(1000)})
    lines = session.layout.journal.read_text().splitlines(keepends=True)
    session.layout.journal.write_text("".join(line for line in lines if "Decided" not in line))
    with pytest.raises(UsageError, match="p_day002 is not over"):
        compare(session, None, Settings())


def test_a_baseline_that_is_gone_is_told(night: Recorder) -> None:
    night(1, {"a": runs(1000)})
    session = night(2, {"a": runs(1000)})
    write_baseline(session.state_layout, "p", Baseline(session="gone", session_dir="/nonexistent", set_at=1.0))
    with pytest.raises(UsageError, match=r"the baseline of p cannot be read.*baseline clear p"):
        compare(session, None, Settings())


def test_a_session_is_not_compared_with_itself(night: Recorder) -> None:
    session = night(1, {"a": runs(1000)})
    with pytest.raises(UsageError, match="is the baseline itself"):
        compare(session, session, Settings())


def test_an_entry_that_fails_now_is_worse_by_itself(night: Recorder) -> None:
    night(1, {"a": runs(1000), "b": runs(1000)})
    found = compare(night(2, {"a": runs(1000), "b": [ErrorMode.CRASH] * 5}), None, Settings())
    assert (found.failing, found.is_worse) == (("b",), True)
    assert {"entry": "b", "metric": "", "reason": "nothing ran well in this session"} in found.left_out


def test_a_repetition_that_missed_a_requirement_is_a_sample(night: Recorder) -> None:
    """The slow ones miss it: without them the others would look well."""
    session = night(1, {"a": [*runs(1000, count=2), ErrorMode.CRASH]})
    for number, mode in ((1, "requirements_not_met"), (2, "success")):
        path = session.layout.entry(f"a_r{number}").attempt(1).results
        path.write_text(json.dumps({**json.loads(path.read_text()), "error_mode": mode}))
    journal = session.layout.journal
    journal.write_text(journal.read_text().replace('"mode": "success"', '"mode": "requirements_not_met"', 1))
    group = measured(session).groups["a"]
    assert (group.planned, group.ran, group.as_expected) == (3, 2, 1)
    assert len(group.figures["tokens_per_s"]) == 2


def test_sessions_without_an_entry_in_common_are_not_compared(night: Recorder) -> None:
    first = night(1, {"a": runs(1000)})
    last = night(2, {"b": runs(1000), "c": runs(1000)})
    with pytest.raises(UsageError, match="p_day002 and p_day001 have no entry in common"):
        compare(last, first, Settings())
    night(3, {"a": runs(1000)})
    with pytest.raises(UsageError, match="no entry in common that --entry b asks for"):
        compare(night(4, {"a": runs(1000), "b": runs(1000)}), None, Settings(entries=("b",)))


def test_what_did_not_run_is_told_once_and_only_where_it_is_asked_for(night: Recorder) -> None:
    groups = {"a": runs(1000), "b": [ErrorMode.CRASH] * 2, "c": [ErrorMode.CRASH] * 2}
    baseline, last = (night(day, groups) for day in (1, 2))
    for session in (baseline, last):
        plan = json.loads(session.layout.sweep.read_text())
        for entry in plan["entries"]:
            entry["expected_failure"] = "issue 7" if entry["group"] == "c" else ""
        session.layout.sweep.write_text(json.dumps(plan))
    assert [dict(item) for item in compare(last, baseline, Settings()).left_out] == [
        {"entry": "b", "metric": "", "reason": "nothing ran well in both sessions"},
        {"entry": "c", "metric": "", "reason": "failed as expected in both sessions"},
    ]
    assert compare(last, baseline, Settings(entries=("a",))).left_out == ()


def test_gone_and_new_entries_and_metrics_are_told(night: Recorder) -> None:
    night(1, {"a": runs(1000, gone_s=1.0), "old": runs(1000)})
    found = compare(night(2, {"a": runs(1000, new_s=1.0), "young": runs(1000)}), None, Settings())
    assert (found.gone, found.new) == (("old",), ("young",))
    told = {(item["metric"], item["reason"]) for item in found.left_out}
    assert told == {("gone_s", "missing in this session"), ("new_s", "missing in the baseline")}
    assert not found.is_worse


def test_what_is_no_number_is_told_and_a_text_that_stays_is_not(night: Recorder) -> None:
    night(1, {"a": runs(1000, loss_s=2.0, note="x", flag=True, deep={"a": 1})})
    found = compare(night(2, {"a": runs(1000, loss_s="nan", note="x", flag=False, deep={"a": 2})}), None, Settings())
    assert [dict(item) for item in found.left_out] == [
        {"entry": "a", "metric": "loss_s", "reason": "no number in this session: 'nan'"}
    ]


def test_only_what_is_asked_for_is_compared(night: Recorder) -> None:
    night(1, {"a": runs(1000, windows=181), "b": runs(1000)})
    last = night(2, {"a": runs(1000, seed=2, windows=200), "b": runs(1000, seed=3)})
    found = compare(last, None, Settings(metrics=("win*",), entries=("a",)))
    assert verdicts(found) == {("a", "windows"): Verdict.CHANGED} and not found.is_worse
    with pytest.raises(UsageError, match="did you mean 'windows'"):
        compare(last, None, Settings(metrics=("windowz",)))
    with pytest.raises(UsageError, match="no entry is called 'c'"):
        compare(last, None, Settings(entries=("c",)))


def test_rules_come_from_the_command_line_before_the_configuration(night: Recorder) -> None:
    night(1, {"a": runs(1000, windows=181)})
    rules = {"windows": {"direction": "higher", "min_effect": "1 %"}, "tokens*": {"direction": None, "min_effect": 0.5}}
    last = night(2, {"a": runs(900, seed=2, windows=170)}, metrics=rules)
    assert verdicts(compare(last, None, Settings())) == {
        ("a", "tokens_per_s"): Verdict.SAME,
        ("a", "windows"): Verdict.WORSE,
    }
    given = Settings(rules={"windows": MetricRule(direction="lower")})
    assert verdicts(compare(last, None, given))["a", "windows"] is Verdict.BETTER


@pytest.mark.parametrize(
    "results",
    ["", "[]", "null", '{"metrics": 3}', "\x00\xff", '{"schema_version": 1, "name": 1}', '{"a":' * 100_000, "metrics"],
    ids=["empty", "list", "null", "too little", "bytes", "wrong fields", "deep", "metrics are no object"],
)
def test_hostile_results_are_no_samples_and_stop_nothing(night: Recorder, results: str) -> None:
    night(1, {"a": runs(1000)})
    session = night(2, {"a": runs(1000, seed=2), "b": runs(1000)})
    for number in range(1, 6):
        path = session.layout.entry(f"b_r{number}").attempt(1).results
        if results == "metrics":
            results = json.dumps({**json.loads(path.read_text()), "metrics": 3})
        path.write_bytes(results.encode("latin-1"))
    found = compare(session, None, Settings())
    assert verdicts(found) == {("a", "tokens_per_s"): Verdict.SAME}
    json.dumps(found.to_document(), allow_nan=False)


def test_a_session_that_cannot_be_read_is_reported_and_left_out(
    night: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    night(1, {"a": runs(1000)})
    broken = night(2, {"a": runs(1000)})
    broken.layout.sweep.write_text("{")
    found = compare(night(3, {"a": runs(1000, seed=3)}), None, Settings())
    assert found.choice.baseline.session.id == "p_day001"
    assert "session p_day002 is left out" in caplog.text


def test_earlier_sessions_tell_of_noise_where_samples_are_few(night: Recorder) -> None:
    for day in range(8):
        night(day, {"a": runs(1000, seed=day, count=1)})
    assert verdicts(compare(night(8, {"a": runs(900, seed=9, count=1)}), None, Settings())) == {
        ("a", "tokens_per_s"): Verdict.WORSE
    }
    alone = compare(night(9, {"a": runs(900, seed=10, count=1)}), None, Settings(history=0))
    assert verdicts(alone) == {("a", "tokens_per_s"): Verdict.INCONCLUSIVE}


def test_what_stays_slow_stays_worse_until_the_baseline_moves(night: Recorder) -> None:
    """Sessions after the baseline tell nothing of noise: slow ones among them would hide those that follow."""

    def groups(level: float, day: int) -> dict[str, Any]:
        return {name: runs(level, seed=100 * day + place) for place, name in enumerate("abcd")}

    good = [night(day, groups(1000, day)) for day in range(8)]
    base = good[6]
    write_baseline(base.state_layout, "p", Baseline(session=base.id, session_dir=base.session_dir, set_at=1.0))
    for day in range(8, 15):
        found = compare(night(day, groups(905, day)), None, Settings())
        assert set(verdicts(found).values()) == {Verdict.WORSE}, day
        assert [other.session.id for other in found.choice.history] == [session.id for session in good[5::-1]]
    assert not compare(good[7], None, Settings()).is_worse
    assert not compare(night(15, groups(905, 15)), found.session.session, Settings()).is_worse


def test_a_baseline_of_long_ago_keeps_its_history(night: Recorder) -> None:
    good = [night(day, {"a": runs(1000, seed=day, count=1)}) for day in range(6)]
    for day in range(6, 6 + MOST_LOOKED_AT):
        last = night(day, {"a": runs(900, seed=day, count=1)})
    found = compare(last, good[-1], Settings())
    assert len(found.choice.history) == 5 and found.is_worse


def test_a_session_after_the_one_compared_is_no_history_of_it(night: Recorder) -> None:
    days = [night(day, {"a": runs(1000, seed=day)}) for day in range(5)]
    found = compare(days[2], days[4], Settings())
    assert [other.session.id for other in found.choice.history] == ["p_day001", "p_day000"]


def test_the_history_of_a_metric_has_a_point_for_each_session_and_its_changes(night: Recorder) -> None:
    for day in range(16):
        night(day, {"a": runs(1000 if day < 8 else 900, seed=day, count=3)})
    (series,) = history(night(16, {"a": runs(900, seed=16, count=3)}), "tokens_per_s")
    assert [point.n for point in series.points] == [3] * 17
    assert series.changes == (8,)
    (change,) = series.to_document()["changes"]
    assert (change["before"]["session"], change["after"]["session"]) == ("p_day007", "p_day008")
    assert change["before"]["commit"] != change["after"]["commit"]
    assert change["difference"] == pytest.approx(-0.1, abs=0.01)


def test_the_history_of_an_unknown_metric_names_the_nearest(night: Recorder) -> None:
    with pytest.raises(UsageError, match="did you mean 'tokens_per_s'"):
        history(night(1, {"a": runs(1000)}), "token_per_s")


def test_a_requirement_takes_the_median_of_the_baseline(night: Recorder, caplog: pytest.LogCaptureFixture) -> None:
    session = night(1, {"a": [{"m": 1.0}, {"m": 2.0}, {"m": 9.0}]})
    plan = read_plan(session.layout.sweep)
    wanted = Requirement(metric="m", reference="baseline, -5 %, +5 %, s")
    unknown = Requirement(metric="n", reference=["baseline", "-5 %", None])
    plan = type(plan)(**{**vars(plan), "entries": tuple(_with(entry, wanted, unknown) for entry in plan.entries)})
    assert with_references(plan, session.state_layout) == plan
    assert "'p' has no baseline" in caplog.text
    write_baseline(session.state_layout, "p", Baseline(session=session.id, session_dir=session.session_dir, set_at=1.0))
    found = with_references(plan, session.state_layout)
    assert found.entries[0].requirements[0].reference == [2.0, -0.05, 0.05, "s"]
    assert found.entries[0].requirements[0].reference_session == session.id
    assert found.entries[0].requirements[1] == unknown
    assert "has no n of a: not judged" in caplog.text


def _with(entry: Any, *requirements: Requirement) -> Any:
    return type(entry)(**{**vars(entry), "requirements": requirements})


def test_baselines_are_kept_by_project_and_taken_back(night: Recorder) -> None:
    state = night(1, {"a": runs(1000)}).state_layout
    one, other = (Baseline(session=name, session_dir=f"/{name}", set_at=1.0) for name in "ab")
    write_baseline(state, "p", one)
    write_baseline(state, "q", other)
    write_baseline(state, "p", None)
    assert (read_baseline(state, "p"), read_baseline(state, "q")) == (None, other)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"schema_version": 9, "baselines": {}}', '{"schema_version": 1, "baselines": {"p": {"x": 1}}}']
)
def test_a_broken_baseline_is_told_and_never_written_over(night: Recorder, text: str) -> None:
    state = night(1, {"a": runs(1000)}).state_layout
    state.root.mkdir(exist_ok=True)
    state.baseline.write_text(text)
    with pytest.raises(StateError, match=r"baseline\.json"):
        read_baseline(state, "p")
    assert state.baseline.read_text() == text


def test_the_environment_is_read_as_far_as_it_is_there(night: Recorder) -> None:
    gpu = {"name": "H200"}
    session = night(1, {"a": runs(1, count=2)}, machine={**MACHINE, "gpus": [gpu, gpu], "gpu_driver": "1"})
    artifacts = session.layout.entry("a_r1").artifacts
    (artifacts / "pip-freeze.txt").write_text("x==1\n")
    found = measured(session).environment
    assert found.hardware == ("8 x CPU, 16 GiB, 2 x H200",)
    assert {"oellm_bench", "commit", "gpu_driver", "pip-freeze"} == {*found.software}
    for text in ("[]", '{"cpu": 3, "gpus": "many", "container": 7}', ""):
        (artifacts / "sys-env.json").write_text(text)
        json.dumps(measured(session).environment.to_document())


def test_a_session_without_any_environment_is_compared_all_the_same(night: Recorder) -> None:
    for day in (1, 2):
        session = night(day, {"a": runs(1000, seed=day)})
        for path in session.layout.root.glob("entries/*/artifacts/sys-env.json"):
            path.unlink()
    found = compare(session, None, Settings())
    assert found.session.environment.fingerprint == ""
    assert asdict(found.session.environment)["hardware"] == ()
    assert not found.is_worse
