"""How far a command is, as its log tells it, and as its heartbeat hands it on."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oellm_bench.backends.progress import progress_problems
from oellm_bench.core.peaks import Peaks
from oellm_bench.monitoring.heartbeat import advanced_at, iteration, read_heartbeat, used
from oellm_bench.observer.progress import Progress

PATTERN = r"iteration +(?P<iteration>[0-9,]+)/ *(?P<total>[0-9]+)(.*tok/s (?P<throughput>\S+))?"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "stdout.log"


@contextlib.contextmanager
def deadline(limit_s: int) -> Iterator[None]:
    """Interrupt what takes longer, a call that hangs in the kernel too."""

    def interrupt(*_: object) -> None:
        raise AssertionError(f"not within {limit_s} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.alarm(limit_s)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def told(text: bytes, log: Path, pattern: str = PATTERN) -> dict[str, Any]:
    """Return what a log with this text tells, without the time of the look."""
    log.write_bytes(text)
    progress = Progress(pattern, [str(log)])
    progress.look(1.0)
    return {name: value for name, value in progress.last.items() if name != "at"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"starting\n", {}),
        (b"iteration 3/30\nloss 0.5\n", {"iteration": 3, "total": 30}),
        (b"iteration 3/30\niteration 4/30 tok/s 812.5\n", {"iteration": 4, "total": 30, "throughput": 812.5}),
        (b"iteration 1,200/ 3000\n", {"iteration": 1200, "total": 3000}),
        (b"iteration " + b"9" * 400 + b"/30\n", {"iteration": "9" * 400, "total": 30}),
        (b"iteration 3/30\niteration 4/3", {"iteration": 3, "total": 30}),  # the end of 4/30
        (b"\xff\xfe iteration 3/30 \xff\n", {"iteration": 3, "total": 30}),
        (b"iteration 3/30 tok/s \xe2\x82\xac\n", {"iteration": 3, "total": 30, "throughput": "\u20ac"}),
    ],
)
def test_the_last_whole_line_that_matches_counts(log: Path, text: bytes, expected: dict[str, Any]) -> None:
    assert told(text, log) == expected


def test_a_progress_bar_that_rewrites_its_line_is_read(log: Path) -> None:
    assert told(b"\riteration 1/30\riteration 2/30\riteration 3/3", log) == {"iteration": 2, "total": 30}


@pytest.mark.parametrize("value", ["nan", "inf", "-Infinity", "9" * 400 + ".0"])
def test_what_is_no_finite_number_stays_text(log: Path, value: str) -> None:
    found = told(f"iteration 3/30 tok/s {value}\n".encode(), log)
    assert found["throughput"] == value
    json.dumps(found, allow_nan=False)


def test_a_match_without_an_iteration_changes_nothing(log: Path) -> None:
    pattern = r"(iteration (?P<iteration>\d+))?.*loss (?P<loss>\S+)"
    assert told(b"loss 2.5\n", log, pattern) == {}
    assert told(b"iteration 7 loss 2.5\nloss 2.4\n", log, pattern) == {"iteration": 7, "loss": 2.5}


def test_what_was_read_before_is_not_needed_again(log: Path) -> None:
    progress = Progress(PATTERN, [str(log)])
    progress.look(1.0)  # not there yet
    log.write_bytes(b"iteration 1/30\niteration 2/")
    progress.look(2.0)
    assert progress.last == {"iteration": 1, "total": 30, "at": 2.0}
    with log.open("ab") as stream:
        stream.write(b"30\n")
    progress.look(3.0)
    assert progress.last == {"iteration": 2, "total": 30, "at": 3.0}
    progress.look(4.0)
    assert progress.last["at"] == 3.0 and progress.log_bytes == log.stat().st_size


def test_only_another_iteration_is_an_advance(log: Path) -> None:
    progress = Progress(PATTERN, [str(log)])
    for now in (1.0, 2.0, 3.0):
        with log.open("ab") as stream:
            stream.write(f"iteration 5/30 tok/s {now}\n".encode())
        progress.look(now)
    assert progress.last == {"iteration": 5, "total": 30, "throughput": 3.0, "at": 1.0}


def test_a_log_that_is_truncated_is_read_from_its_beginning(log: Path) -> None:
    progress = Progress(PATTERN, [str(log)])
    log.write_bytes(b"x" * 1000 + b"\niteration 9/30\n")
    progress.look(1.0)
    log.write_bytes(b"iteration 1/30\n")
    progress.look(2.0)
    assert progress.last == {"iteration": 1, "total": 30, "at": 2.0}


def test_a_log_of_any_size_is_read_at_its_end_and_by_whole_lines(log: Path) -> None:
    bar = r"(?P<iteration>[0-9]+)/100"
    line = b"123/100 " + b"." * ((1 << 20) - 8) + b"\n"  # what is read begins in the middle of 123
    assert told(b"77/100\n" + line, log, bar) == {}
    assert told(b"." * (3 << 20) + b"\n88/100\n", log, bar) == {"iteration": 88}


def test_a_fifo_in_place_of_a_log_keeps_nobody_waiting(log: Path) -> None:
    progress = Progress(PATTERN, [str(log), str(log.parent)])
    log.write_bytes(b"iteration 1/30\n")
    progress.look(1.0)
    log.unlink()
    os.mkfifo(log)
    with deadline(5):
        progress.look(2.0)
    assert progress.last == {"iteration": 1, "total": 30, "at": 1.0}


@pytest.mark.parametrize(
    ("pattern", "what"),
    [
        ("", []),
        (PATTERN, []),
        (r"iteration (\d+)", ["has no group 'iteration'"]),
        (r"(?P<step>\d+)", ["has no group 'iteration'"]),
        (r"(?P<iteration>[0-9]+", ["is no regular expression"]),
        (r"(?P<iteration>[0-9]{99999999999})", ["is no regular expression"]),
    ],
)
def test_a_pattern_that_cannot_tell_is_one_problem(pattern: str, what: list[str]) -> None:
    problems = progress_problems(pattern)
    assert len(problems) == len(what)
    assert all(
        text in problem.what and problem.where == "progress" for text, problem in zip(what, problems, strict=True)
    )


BEAT = {"attempt": 2, "at": 5.0, "cpu_s": 1.5, "peaks": {"peak_rss_bytes": 7}, "progress": {"iteration": 3, "at": 4.0}}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (json.dumps(BEAT), BEAT),
        (json.dumps({**BEAT, "attempt": 1}), {}),
        (json.dumps({**BEAT, "at": None}), {}),
        (json.dumps({**BEAT, "at": float("nan")}), {}),
        (json.dumps({name: value for name, value in BEAT.items() if name != "at"}), {}),
        (json.dumps({**BEAT, "peaks": 3, "progress": []}), {**BEAT, "peaks": {}, "progress": {}}),
        (json.dumps({**BEAT, "cpu_s": float("inf")}), {**BEAT, "cpu_s": "inf"}),
        ("[1]", {}),
        ('{"attempt": 2', {}),
    ],
)
def test_a_heartbeat_is_whole_or_none(tmp_path: Path, text: str, expected: dict[str, Any]) -> None:
    path = tmp_path / "heartbeat.json"
    path.write_text(text)
    beat = read_heartbeat(path, 2)
    assert beat == expected
    assert all(isinstance(value, int | float) for name, value in used(beat).items() if name != "progress")


def test_what_nobody_saw_has_no_peaks() -> None:
    assert Peaks().with_sample(0, 0, []).to_document() == {}


def test_gpu_figures_are_those_of_the_gpus_that_tell() -> None:
    peaks = Peaks()
    for busy, memory in ((80, 10), (40, 30), (None, 20)):
        first = {"utilization_percent": busy, "memory_used_bytes": memory, "power_w": None}
        second = {"utilization_percent": None, "memory_used_bytes": 5, "power_w": None}
        peaks = peaks.with_sample(100, 2, [first, second])
    assert peaks.to_document() == {
        "peak_rss_bytes": 100,
        "peak_processes": 2,
        "peak_gpu_memory_bytes": 35,
        "gpu_utilization_percent": 60.0,
    }


@pytest.mark.parametrize(
    "beat",
    [
        {"at": 10**400},
        {"at": 1.0, "progress": {"iteration": 10**400, "at": 1.0}},
        {"at": 1.0, "progress": {"iteration": float("nan"), "at": float("inf")}},
    ],
    ids=["time", "iteration", "not finite"],
)
def test_numbers_that_are_none_are_not_taken_from_a_heartbeat(tmp_path, beat):
    path = tmp_path / "heartbeat.json"
    path.write_text(json.dumps({"attempt": 1, **beat}))
    found = read_heartbeat(path, 1)
    assert found == {} or (iteration(found), beat["at"]) == (None, 1.0)
    assert advanced_at(found) in (None, 1.0)
