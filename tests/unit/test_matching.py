"""Patterns for paths: what they fit, and that no folder keeps them for ever."""

from __future__ import annotations

import glob
import os

import pytest

from oellm_bench import matching as module
from oellm_bench.matching import matching


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "a [user]'s tree"
    for name in ("a.log", "b.txt", "d/c.log", "d/e/f.log", "d/.hidden/g.log", ".h.log", "odd[1].log"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


@pytest.mark.parametrize(
    "pattern",
    [
        "*.log",
        "**/*.log",
        "d/*",
        "d/**/f.log",
        "**",
        "*/c.log",
        "?.log",
        "[ab].*",
        ".*.log",
        "nothing*",
        "d/c.log",
        "**/e/*",
    ],
)
def test_a_pattern_fits_what_glob_fits(tree, pattern):
    whole = f"{glob.escape(str(tree))}/{pattern}"
    expected = {path.rstrip("/") for path in glob.glob(whole, recursive=True)}  # noqa: PTH207 - what it is held to
    assert set(matching(whole)) == expected


def test_links_to_folders_are_no_way_round_in_circles(tree):
    for name in ("x", "y"):
        (tree / name).symlink_to(".")
    found = list(matching(f"{glob.escape(str(tree))}/**/*.log"))
    assert sorted(os.path.relpath(path, tree) for path in found) == ["a.log", "d/c.log", "d/e/f.log", "odd[1].log"]


def test_a_link_that_the_pattern_names_is_followed(tree):
    (tree / "x").symlink_to("d")
    assert list(matching(f"{glob.escape(str(tree))}/x/*.log")) == [str(tree / "x" / "c.log")]


def test_there_is_an_end_in_a_folder_without_one(tree, monkeypatch):
    monkeypatch.setattr(module, "MOST_VISITED", 3)
    assert len(list(matching(f"{glob.escape(str(tree))}/**/*"))) <= 3


def test_who_needs_one_path_looks_at_no_more(tmp_path, monkeypatch):
    for number in range(50):
        (tmp_path / f"{number}.log").touch()
    looked_at = []
    names = module._names
    monkeypatch.setattr(
        module, "_names", lambda folder, left: (looked_at.append(item) or item for item in names(folder, left))
    )
    next(matching(f"{glob.escape(str(tmp_path))}/*.log"))
    assert len(looked_at) == 1
