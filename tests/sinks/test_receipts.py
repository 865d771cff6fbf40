"""What a sink has delivered: kept through crashes, at the same cost for ten thousand entries as for ten."""

from __future__ import annotations

import resource

import pytest

from oellm_bench.errors import StateError
from oellm_bench.fileio import WriteError
from oellm_bench.sinks.receipts import Receipts


@pytest.fixture
def path(tmp_path):
    return tmp_path / "it's/a sink.jsonl"


def test_what_was_put_is_there_again(path):
    receipts = Receipts(path)
    receipts.put("a", ts="", since=1.5)
    receipts.put("b:1", ts="2")
    receipts.put("a", ts="1")
    again = Receipts(path)
    assert again.get("a") == {"ts": "1", "since": 1.5} and again.get("c") is None
    assert again.under("b:") == {"1": {"ts": "2"}} and not again.doubtful


@pytest.mark.parametrize("lost", range(1, 60, 7))
def test_a_line_that_was_cut_short_is_taken_away(path, lost):
    receipts = Receipts(path)
    receipts.put("a", ts="1")
    kept = path.read_bytes()
    receipts.put("b", text="x" * 60)
    path.write_bytes(path.read_bytes()[:-lost])
    again = Receipts(path)
    assert again.get("b") is None and again.get("a") == {"ts": "1"}
    again.put("c", ts="3")
    assert path.read_bytes().startswith(kept) and Receipts(path).get("c") == {"ts": "3"}


def test_a_file_cut_short_in_its_first_line_is_an_empty_one(path):
    Receipts(path).put("a", ts="1")
    path.write_bytes(path.read_bytes()[:10])
    again = Receipts(path)
    again.put("b", ts="2")
    assert Receipts(path).under("") == {"b": {"ts": "2"}}


@pytest.mark.parametrize(
    "text", ["{}\n", "[]\n", "no\nJSON\n", '{"schema_version": 1, "doubtful": false}\n{"key": 1}\n']
)
def test_a_file_that_is_none_of_ours_is_kept_aside_and_remembered(path, text):
    path.parent.mkdir()
    path.write_text(text)
    Receipts(path).put("a", ts="1")
    assert Receipts(path).doubtful
    assert path.with_name(f"{path.name}.corrupt").read_text() == text


def test_a_file_of_a_later_release_is_left_as_it_is(path):
    path.parent.mkdir()
    path.write_text('{"schema_version": 9, "doubtful": false}\n')
    with pytest.raises(StateError, match="schema_version 9"):
        Receipts(path)
    assert "9" in path.read_text()


def test_what_the_disk_does_not_take_is_not_there_in_part(path):
    receipts = Receipts(path)
    receipts.put("a", ts="1")
    kept = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) + 20, limits[1]))
    try:
        with pytest.raises(WriteError):
            receipts.put("b", text="x" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == kept
    receipts.put("b", ts="2")
    assert Receipts(path).get("b") == {"ts": "2"}
