"""Placeholders of a matrix, and what only looks like one."""

from __future__ import annotations

import pytest

from oellm_bench.matrix.arguments import Placeholders, without_results_path
from oellm_bench.placeholders import UnknownPlaceholder, expand

VALUES = {
    "dataset:cc,parquet": "/data/cc",
    "path:weights": "/w {x}",
    "session_entry_dir": "/r/s/e",
    "session": "/r/s/e",
}


def filled(text: str) -> str:
    names = Placeholders(["cc,parquet"], ["weights"], {"curator_repo_dir": "/repo {y}"})
    return expand(names.template(text), VALUES.get)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{dataset:cc,parquet}", "/data/cc"),
        ("{dataset: cc , parquet }/x", "/data/cc/x"),
        ("{session_entry_dir}/out", "/r/s/e/out"),
        ("{session}/scratch", "/r/s/e/scratch"),
        ("{weights}/a.bin", "/w {x}/a.bin"),
        ("{curator_repo_dir}/t", "/repo {y}/t"),
        ('{"a": 1}', '{"a": 1}'),
        ('{"a": {"b": [1, {"c": 2}]}}', '{"a": {"b": [1, {"c": 2}]}}'),
        ("{{weights}}", "{weights}"),
        ("{{dataset:cc,parquet}}", "{dataset:cc,parquet}"),
        ("{} {0} { } }{", "{} {0} { } }{"),
        ("%Y {a-b}", "%Y {a-b}"),
        ("${HOME}/x", "${HOME}/x"),
        ("${weights}", "${weights}"),
    ],
)
def test_what_has_a_value_is_filled_in_and_all_else_stays(text, expected):
    assert filled(text) == expected


@pytest.mark.parametrize("text", ["{wieghts}", "{dataset:cc,jsonl}", "{dataset:dd,parquet}", "{dataset:cc}"])
def test_a_name_without_a_value_is_refused(text):
    with pytest.raises(UnknownPlaceholder):
        filled(text)


def test_an_entry_uses_only_what_it_names():
    names = Placeholders(["cc,parquet", "other,json"], ["weights", "unused"], {})
    names.template("{dataset:cc,parquet} {weights}")
    assert names.used == {"cc,parquet", "weights"}


def test_what_is_elsewhere_in_a_container_is_written_out_and_still_used():
    names = Placeholders(["cc,parquet"], ["weights"], {"weights": "/w", "cc,parquet": "/d/{cc}"})
    assert names.template("{weights}/m {dataset:cc,parquet}") == "/w/m /d/{{cc}}"
    assert names.used == {"cc,parquet", "weights"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("--benchmark-results-path={session_entry_dir}", "--n", "1"),
        ("--n", "1", "--benchmark-results-path", "{session_entry_dir}/"),
        ("--n", "1", "--benchmark-results-path", "{session}/benchmark_results"),
    ],
)
def test_the_folder_of_results_is_given_once(arguments):
    refused = []
    assert without_results_path(arguments, refused.append) == ("--n", "1")
    assert refused == []


def test_results_in_another_folder_would_not_be_found():
    refused = []
    without_results_path(("--benchmark-results-path=/elsewhere",), refused.append)
    assert refused == ["/elsewhere"]
