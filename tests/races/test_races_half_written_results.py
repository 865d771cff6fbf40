"""Race 26: half-written results, waited for a little, then reported."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from oellm_bench.core.layout import EntryLayout
from oellm_bench.core.plan import PlannedEntry
from oellm_bench.core.result import EntryResult, ExitRecord
from oellm_bench.results.collect import collect
from oellm_bench.results.settled import LIMIT_S, settle

WHOLE = '{"is_success": true, "note": "grün", "files": 7}'
ENTRY = PlannedEntry(
    index=0, id="k7q2m4xa", name="a", script="s", parameters={}, argv=("true",), timeout_s=1.0, contract=True
)
PARTS = {"empty": b"", "cut": b'{"is_success": true, "fi', "cut inside a letter": WHOLE.encode()[:33]}
AT_ONCE_S = 0.5  # far less than the limit, far more than any look takes


def exited(returncode: int = 0, failure: str = "") -> ExitRecord:
    return ExitRecord(token="t", attempt=1, returncode=returncode, failure=failure)


@pytest.fixture
def layout(tmp_path: Path) -> EntryLayout:
    found = EntryLayout(tmp_path / "it's an entry")
    found.benchmark_results.mkdir(parents=True)
    return found


@pytest.fixture
def later() -> Iterator[Callable[[float, Callable[[], object]], None]]:
    """Do something from outside, as another node would, while a test waits."""
    timers: list[threading.Timer] = []

    def start(delay_s: float, action: Callable[[], object]) -> None:
        timers.append(threading.Timer(delay_s, action))
        timers[-1].start()

    yield start
    for timer in timers:
        timer.join()


def settled(layout: EntryLayout, record: ExitRecord) -> tuple[EntryResult, float]:
    """Return the result, and how long it was waited for."""
    began = time.monotonic()
    settle(record, layout)
    return collect(ENTRY, record, layout), time.monotonic() - began


def sparse(path: Path, size: int) -> None:
    path.touch()
    os.truncate(path, size)


@pytest.mark.parametrize("name", ["metrics.json", "params.json"])
@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_race_26_a_file_that_is_completed_soon_after_is_read_in_full(layout, later, name, part):
    (layout.benchmark_results / "metrics.json").write_text(WHOLE)
    path = layout.benchmark_results / name
    path.write_bytes(part)
    later(0.3, lambda: path.write_text(WHOLE))
    result, waited_s = settled(layout, exited())
    assert (result.error_mode, result.reason) == ("success", "")
    assert (result.metrics if name == "metrics.json" else result.params)["files"] == 7
    assert 0.25 < waited_s < LIMIT_S


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_race_26_a_file_that_stays_half_written_breaks_the_contract_in_bounded_time(layout, part):
    (layout.benchmark_results / "metrics.json").write_bytes(part)
    result, waited_s = settled(layout, exited())
    assert result.error_mode == "contract_error"
    assert "benchmark_results/metrics.json is not valid JSON" in result.reason
    assert LIMIT_S <= waited_s < LIMIT_S + AT_ONCE_S


def test_race_26_an_empty_file_is_called_empty(layout):
    (layout.benchmark_results / "metrics.json").touch()
    settle(exited(), layout, limit_s=0)
    assert collect(ENTRY, exited(), layout).reason.endswith("metrics.json is not valid JSON (it is empty)")


def test_race_26_two_files_that_stay_half_written_share_the_time(layout):
    for name in ("metrics.json", "params.json"):
        (layout.benchmark_results / name).write_text("{")
    assert settled(layout, exited())[1] < LIMIT_S + AT_ONCE_S


@pytest.mark.parametrize(
    "prepare",
    [
        lambda folder: None,
        lambda folder: folder.rmdir(),
        lambda folder: (folder / "metrics.json").write_text(WHOLE),
        lambda folder: (folder / "metrics.json").write_text("[]"),
        lambda folder: (folder / "metrics.json").mkdir(),
        lambda folder: os.mkfifo(folder / "metrics.json"),
        lambda folder: (folder / "metrics.json").symlink_to("/dev/zero"),
        lambda folder: sparse(folder / "metrics.json", 1 << 30),
    ],
    ids=["absent", "no folder", "whole", "array", "folder", "FIFO", "device", "1 GiB"],
)
def test_race_26_what_no_wait_can_mend_costs_none(layout, prepare):
    prepare(layout.benchmark_results)
    assert settled(layout, exited())[1] < AT_ONCE_S


@pytest.mark.parametrize("record", [exited(3), exited(-9), exited(0, "timeout")], ids=["3", "-9", "timeout"])
def test_race_26_what_an_attempt_that_failed_left_is_not_waited_for(layout, record):
    (layout.benchmark_results / "metrics.json").write_text("{")
    assert settled(layout, record)[1] < AT_ONCE_S
