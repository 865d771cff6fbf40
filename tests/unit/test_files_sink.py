"""results.jsonl: one line per result, whatever a crash left behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from oellm_bench.sinks.files import FilesSink, FilesSinkConfig


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "it's a session"
    folder.mkdir()
    return folder / "results.jsonl"


@pytest.fixture
def sink(path: Path) -> FilesSink:
    subject = FilesSink(FilesSinkConfig())
    subject.initialize("s", {"session_dir": str(path.parent)})
    return subject


def ids(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_text().splitlines()]


def test_each_result_is_a_line_at_once(sink, path):
    sink.process_result({"id": "a"})
    sink.process_result({"id": "b"})
    assert ids(path) == ["a", "b"]


def test_the_table_is_written_whatever_a_script_reports(sink, path):
    sink.process_result({"id": "a", "metrics": {"half \ud800": "\udfff"}})
    sink.finalize()
    assert "metrics.half \\ud800" in (path.parent / "results.csv").read_text()


def test_a_result_after_a_torn_line_begins_on_a_new_line(sink, path):
    path.write_text('{"id": "a"}\n{"id": "b", "metr')
    sink.process_result({"id": "b"})
    sink.process_result({"id": "c"})
    assert path.read_text().splitlines() == ['{"id": "a"}', '{"id": "b", "metr', '{"id": "b"}', '{"id": "c"}']
    sink.finalize()
    assert ids(path) == ["a", "b", "c"]


def test_the_last_word_on_an_entry_is_kept(sink, path):
    for name, number in (("a", 1), ("b", 2), ("a", 3)):
        sink.process_result({"id": name, "number": number})
    sink.finalize()
    sink.finalize()
    assert [json.loads(line)["number"] for line in path.read_text().splitlines()] == [3, 2]
