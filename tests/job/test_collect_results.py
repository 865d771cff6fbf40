from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from oellm_bench.core.layout import EntryLayout
from oellm_bench.core.plan import PlannedEntry
from oellm_bench.core.requirement import Requirement
from oellm_bench.core.result import EntryResult, ExitRecord
from oellm_bench.results.collect import collect


@pytest.fixture
def layout(tmp_path: Path) -> EntryLayout:
    found = EntryLayout(tmp_path / "it's an entry")
    found.benchmark_results.mkdir(parents=True)
    return found


def entry(**changes: Any) -> PlannedEntry:
    values: dict[str, Any] = {"parameters": {"size": 3}, "argv": ("true",), "timeout_s": 1.0, "contract": True}
    return PlannedEntry(index=0, id="k7q2m4xa", name="entry_a", script="s", **{**values, **changes})


def record(**changes: Any) -> ExitRecord:
    return ExitRecord(**{"token": "t", "attempt": 2, "returncode": 0, "started_at": 10.0, "ended_at": 14.5, **changes})


def write(layout: EntryLayout, name: str, text: str | bytes) -> None:
    data = text if isinstance(text, bytes) else text.encode()
    (layout.benchmark_results / name).write_bytes(data)


def test_success_carries_times_parameters_params_and_metrics(layout: EntryLayout) -> None:
    write(layout, "params.json", '{"workers": 4}')
    write(layout, "metrics.json", '{"is_success": true, "files": 7}')
    assert collect(entry(), record(), layout) == EntryResult(
        name="entry_a",
        id="k7q2m4xa",
        attempt=2,
        success=True,
        error_mode="success",
        returncode=0,
        exec_time_s=4.5,
        started_at=10.0,
        ended_at=14.5,
        parameters={"size": 3},
        params={"workers": 4},
        metrics={"is_success": True, "files": 7},
    )


@pytest.mark.parametrize("text", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_number_that_is_not_finite_becomes_a_string_and_holds_no_bound(layout: EntryLayout, text: str) -> None:
    write(layout, "metrics.json", f'{{"loss": {text}, "deep": [{{"loss": {text}}}]}}')
    result = collect(entry(requirements=(Requirement(metric="loss", min_value=-1e300),)), record(), layout)
    assert result.error_mode == "requirements_not_met"
    shown = str(float(text.replace("Infinity", "inf")))
    assert result.metrics == {"loss": shown, "deep": [{"loss": shown}]}
    assert json.loads(json.dumps(result.to_document(), allow_nan=False))["metrics"]["loss"] == shown


@pytest.mark.parametrize(
    ("text", "defect"),
    [
        (b"\xff\xfe", "is not valid JSON"),
        ("", "is not valid JSON"),
        ("[" * 100_000, "is not valid JSON"),
        ('{"a":' * 60 + "1" + "}" * 60, "nested more than 50 levels deep"),
        ("9" * 5000, "is not valid JSON"),
        ("null", "holds null, not an object"),
        ('"text"', "holds a string, not an object"),
        ("1.5", "holds a number, not an object"),
        ("true", "holds true or false, not an object"),
    ],
)
def test_defect_breaks_the_contract_and_is_named(layout: EntryLayout, text: str | bytes, defect: str) -> None:
    write(layout, "metrics.json", text)
    result = collect(entry(), record(), layout)
    assert (result.error_mode, result.success) == ("contract_error", False)
    assert defect in result.reason
    assert "benchmark_results/metrics.json" in result.reason


def test_folder_in_place_of_the_file_is_named(layout: EntryLayout) -> None:
    (layout.benchmark_results / "metrics.json").mkdir()
    assert "metrics.json cannot be read (it is a folder, not a file)" in collect(entry(), record(), layout).reason


@pytest.mark.parametrize("contract", [True, False])
def test_what_is_no_file_is_not_opened_and_named(layout: EntryLayout, contract: bool) -> None:
    os.mkfifo(layout.benchmark_results / "metrics.json")
    (layout.benchmark_results / "params.json").symlink_to("/dev/zero")
    result = collect(entry(contract=contract), record(), layout)
    assert result.error_mode == ("contract_error" if contract else "success")
    assert "benchmark_results/metrics.json cannot be read (it is a FIFO, not a file)" in result.reason
    assert contract or "benchmark_results/params.json cannot be read (it is a device, not a file)" in result.reason


@pytest.mark.parametrize("contract", [True, False])
def test_file_of_many_megabytes_is_not_read_and_named(layout: EntryLayout, contract: bool) -> None:
    write(layout, "metrics.json", b'{"files": 7}' + b" " * (8 << 20))
    result = collect(entry(contract=contract), record(), layout)
    assert result.error_mode == ("contract_error" if contract else "success")
    assert "benchmark_results/metrics.json is too large (8388620 bytes, at most 8388608)" in result.reason
    assert result.metrics == {}


def test_link_to_a_file_is_followed(layout: EntryLayout) -> None:
    (layout.root / "elsewhere.json").write_text('{"files": 7}')
    (layout.benchmark_results / "metrics.json").symlink_to(layout.root / "elsewhere.json")
    assert collect(entry(), record(), layout).metrics == {"files": 7}


@pytest.mark.parametrize(
    ("text", "mode", "reason"),
    [
        (None, "success", ""),
        ('{"loss": 1}', "success", ""),
        ("{", "success", "benchmark_results/metrics.json is not valid JSON"),
        ('{"is_success": 1}', "success", ""),
        ('{"is_success": false}', "crash", "is_success: false"),
    ],
)
def test_metrics_are_optional_without_a_contract(layout: EntryLayout, text: str | None, mode: str, reason: str) -> None:
    if text is not None:
        write(layout, "metrics.json", text)
    result = collect(entry(contract=False), record(), layout)
    assert result.error_mode == mode
    assert reason in result.reason


def test_broken_params_are_left_out_and_named(layout: EntryLayout) -> None:
    write(layout, "params.json", "{")
    write(layout, "metrics.json", "{}")
    result = collect(entry(), record(), layout)
    assert result.success
    assert result.params == {}
    assert result.reason.startswith("benchmark_results/params.json is not valid JSON")


@pytest.mark.parametrize(
    ("changes", "mode", "reason"),
    [
        ({"returncode": 3}, "crash", "exit code 3"),
        ({"returncode": -9}, "crash", "ended by signal 9"),
        ({"returncode": None, "failure": "crash", "message": "cannot start x"}, "crash", "cannot start x"),
        ({"returncode": -15, "failure": "timeout", "message": "too long"}, "timeout", "too long"),
        ({"failure": "cancelled", "message": "received SIGTERM"}, "cancelled", "received SIGTERM"),
        ({"returncode": 3, "message": "the Ray head ended"}, "crash", "the Ray head ended"),
    ],
)
def test_record_comes_before_the_metrics(layout: EntryLayout, changes: dict[str, Any], mode: str, reason: str) -> None:
    write(layout, "metrics.json", '{"is_success": true, "files": 7}')
    result = collect(entry(requirements=(Requirement(metric="absent"),)), record(**changes), layout)
    assert (result.error_mode, result.reason, result.success) == (mode, reason, False)
    assert result.metrics["files"] == 7
    assert result.requirements_not_met == ()


def test_run_time_can_be_required(layout: EntryLayout) -> None:
    write(layout, "metrics.json", "{}")
    bound = Requirement(metric="exec_time_s", max_value=4)
    result = collect(entry(requirements=(bound,)), record(), layout)
    assert result.requirements_not_met == ("exec_time_s: 4.5 is above max_value 4 by 0.5 (12.5 %)",)
    assert result.reason == result.requirements_not_met[0]
