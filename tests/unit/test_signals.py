"""Patterns in logs: what fires, how often, with which values, under which position."""

from __future__ import annotations

import pytest

from oellm_bench.monitoring.log_tail import Cursor, read_new
from oellm_bench.monitoring.settings import LogSignal, MonitoringConfig
from oellm_bench.monitoring.signals import Scanner, SeenSignal, signal_problems


@pytest.fixture
def scan(tmp_path):
    """Return a way to append to a log and see what fires; what has fired is remembered as the journal does."""
    path = tmp_path / "log"
    state = {"cursor": Cursor(), "fired": frozenset()}

    def scan(signals, text):
        with path.open("ab") as stream:
            stream.write(text if isinstance(text, bytes) else text.encode())
        chunk = read_new(path, state["cursor"])
        if chunk is None:
            return []
        seen = list(Scanner(signals).scan(chunk, "stdout", state["fired"]))
        state["cursor"] = chunk.cursor
        state["fired"] |= {signal.name for signal in seen}
        return seen

    return scan


def test_every_match_fires_with_its_whole_line(scan):
    seen = scan([LogSignal(name="loss", pattern=r"loss=\d+")], "a loss=1 b\nnothing\nloss=2\n")
    assert [signal.line for signal in seen] == ["a loss=1 b", "loss=2"]


def test_a_once_signal_fires_once_in_a_chunk_and_never_again(scan):
    signal = LogSignal(name="start", pattern="started", once=True)
    assert len(scan([signal], "started\nstarted\n")) == 1
    assert scan([signal], "started\n") == []


def test_named_groups_and_extracted_groups_become_values(scan):
    signal = LogSignal(
        name="step",
        pattern=r"step (?P<step>\d+) loss ([\d.]+)",
        extract_groups={"loss": 2, "again": "step", "all": "match"},
    )
    (seen,) = scan([signal], "at step 7 loss 0.5\n")
    assert seen.values == {"step": "7", "loss": "0.5", "again": "7", "all": "step 7 loss 0.5"}


def test_an_optional_group_that_did_not_match_is_no_value(scan):
    (seen,) = scan([LogSignal(name="x", pattern=r"x(?P<a>1)?(?P<b>2)?")], "x2\n")
    assert seen.values == {"b": "2"}


@pytest.mark.parametrize(
    ("metadata", "values"),
    [
        ({"kind": "checkpoint"}, {"path": "/c/1", "checkpoint_path": "/c/1"}),
        ({"kind": "other"}, {"path": "/c/1"}),
        ({}, {"path": "/c/1"}),
    ],
)
def test_the_path_of_a_checkpoint_is_its_checkpoint_path(scan, metadata, values):
    signal = LogSignal(name="saved", pattern=r"saved (?P<path>\S+)", metadata=metadata)
    (seen,) = scan([signal], "saved /c/1\n")
    assert seen.values == values
    assert seen.metadata == metadata


def test_a_substring_is_no_regular_expression(scan):
    signal = LogSignal(name="x", pattern="a.b[", pattern_type="substring")
    assert [seen.line for seen in scan([signal], "axb[\na.b[\n")] == ["a.b["]


@pytest.mark.parametrize("pattern", ["^error$", "error$", "^error"])
def test_anchors_hold_for_each_line(scan, pattern):
    assert len(scan([LogSignal(name="x", pattern=pattern)], "ok\nerror\nok\n")) == 1


def test_a_position_is_stable_and_never_shared(scan):
    signals = [LogSignal(name="a", pattern="x"), LogSignal(name="b", pattern="x")]
    first = [seen.position for seen in scan(signals, "x\nx\n")]
    second = [seen.position for seen in scan(signals, "x\n")]
    assert len({*first, *second}) == 6


def test_a_position_does_not_depend_on_how_the_file_was_cut(tmp_path):
    path, scanner = tmp_path / "log", Scanner([LogSignal(name="a", pattern="x+")])
    path.write_bytes(b"x\nyy\nxx\nx\n")

    def positions(max_bytes):
        cursor, found = Cursor(), []
        while chunk := read_new(path, cursor, max_bytes=max_bytes):
            found += [seen.position for seen in scanner.scan(chunk, "stdout", frozenset())]
            cursor = chunk.cursor
        return found

    assert positions(6) == positions(1000)


def test_the_same_place_in_a_replaced_file_is_another_position(tmp_path):
    path, scanner = tmp_path / "log", Scanner([LogSignal(name="a", pattern="x")])
    path.write_bytes(b"x one\n")
    first = read_new(path, Cursor())
    path.write_bytes(b"x two, longer\n")
    second = read_new(path, first.cursor)
    (one,), (two,) = (list(scanner.scan(chunk, "stdout", frozenset())) for chunk in (first, second))
    assert one.position != two.position


def test_streams_do_not_share_positions(tmp_path):
    path, scanner = tmp_path / "log", Scanner([LogSignal(name="a", pattern="x")])
    path.write_bytes(b"x\n")
    chunk = read_new(path, Cursor())
    assert len({seen.position for stream in ("a", "b") for seen in scanner.scan(chunk, stream, frozenset())}) == 2


def test_bytes_that_are_no_text_do_no_harm(scan):
    (seen,) = scan([LogSignal(name="x", pattern=r"err (?P<what>.*)")], b"err \xff\xfe\n")
    assert seen.values == {"what": "\ufffd\ufffd"}


def test_a_pattern_beyond_ascii_is_found(scan):
    assert len(scan([LogSignal(name="x", pattern="größe")], "größe 3\n")) == 1


def test_a_very_long_line_is_cut_in_the_journal(scan):
    (seen,) = scan([LogSignal(name="x", pattern="needle")], "needle" + "x" * 10_000 + "\n")
    assert len(seen.line) == 500


def test_a_signal_survives_the_journal(scan):
    (seen,) = scan([LogSignal(name="x", pattern="x", metadata={"a": 1}, mode="oom", action="tell")], "x\n")
    assert SeenSignal.from_document(seen.to_document()) == seen


@pytest.mark.parametrize(
    ("signals", "where", "what"),
    [
        ([{"pattern": "("}], "monitoring.log_signals.0.pattern", "no regular expression"),
        ([{"pattern": "a"}, {"pattern": "b"}], "monitoring.log_signals.0.name", "two signals"),
        ([{"pattern": "a", "mode": "oomm"}], "monitoring.log_signals.0.mode", "'oomm' is no error mode"),
        ([{"pattern": "a", "extract_groups": {"step": 1}}], "monitoring.log_signals.0.extract_groups", "1"),
        ([{"pattern": "a", "extract_groups": {"step": "s"}}], "monitoring.log_signals.0.extract_groups", "'s'"),
    ],
)
def test_a_signal_that_cannot_work_is_refused(signals, where, what):
    config = MonitoringConfig(log_signals=tuple(LogSignal(name="x", **signal) for signal in signals))
    problem = signal_problems(config)[0]
    assert problem.where == where
    assert what in problem.what
