"""What the payload lists without importlib.metadata, against importlib.metadata."""

from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import pytest

from oellm_bench.payload import packages


def test_all_that_is_installed_is_listed() -> None:
    found = list(metadata.distributions())
    from_index = [one for one in found if one.read_text("direct_url.json") is None]
    lines = set(packages.frozen())
    assert {f"{one.metadata['Name']}=={one.version}" for one in from_index} <= lines
    assert len(lines) == len({one.metadata["Name"] for one in found})


def test_first_on_the_path_counts_and_what_is_broken_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def record(folder: str, name: str, files: dict[str, bytes]) -> None:
        (tmp_path / folder / name).mkdir(parents=True)
        for file, content in files.items():
            (tmp_path / folder / name / file).write_bytes(content)

    record("a", "one-1.dist-info", {"METADATA": b"Name: one\nVersion: 1\n\nVersion: 9\n"})
    record("b", "one-2.dist-info", {"METADATA": b"Name: one\nVersion: 2\n"})
    record("b", "old.egg-info", {"PKG-INFO": b"Name: old\nVersion: 3\n"})
    record("b", "empty.dist-info", {})
    record("b", "binary.dist-info", {"METADATA": b"\xff\xfe"})
    (tmp_path / "b" / "older.egg-info").write_text("Name: older\nVersion: 4\n")
    url = b'{"url": "https://me:secret@host/x.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}'
    record("b", "here.dist-info", {"METADATA": b"Name: here\nVersion: 5\n", "direct_url.json": url})
    monkeypatch.setattr(sys, "path", [str(tmp_path / "none"), str(tmp_path / "a"), str(tmp_path / "b")])
    assert packages.frozen() == ["here @ git+https://host/x.git@abc", "old==3", "older==4", "one==1"]
