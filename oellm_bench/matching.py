"""Paths that fit a pattern: what glob does, but never twice round a link, and never without an end."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

MOST_VISITED = 100_000  # names looked at for one pattern


def matching(pattern: str) -> Iterator[str]:
    """Yield the paths that fit an absolute pattern with *, ?, [] and ** over folders, each once.

    `**` follows no links. Names that begin with a dot are fitted by patterns that do. After MOST_VISITED names that is
    all. What cannot be read is not there.
    """
    left = [MOST_VISITED]
    parts = Path(pattern).parts
    told: set[str] = set()
    for path in _fitting(parts[0], parts[1:], left):  # who needs only the first few looks at no more
        if path not in told:
            told.add(path)
            yield path


def _fitting(folder: str, parts: Sequence[str], left: list[int]) -> Iterator[str]:
    if not parts:
        yield folder
        return
    first, rest = parts[0], parts[1:]
    if first == "**":
        yield from _below(folder, rest, left)
    elif not glob.has_magic(first):
        path = os.path.join(folder, first)  # noqa: PTH118 - thousands of them, as text
        if os.path.lexists(path):
            yield from _fitting(path, rest, left)
    else:
        for item in _names(folder, left):
            hidden = item.name.startswith(".") and not first.startswith(".")
            if not hidden and fnmatch.fnmatchcase(item.name, first) and (not rest or item.is_dir()):
                yield from _fitting(item.path, rest, left)


def _below(folder: str, rest: Sequence[str], left: list[int]) -> Iterator[str]:
    """Yield what fits `rest` in a folder or in any below it; without a rest, all that is there."""
    yield from _fitting(folder, rest, left)
    for item in _names(folder, left):
        if item.name.startswith("."):
            continue
        if item.is_dir(follow_symlinks=False):
            yield from _below(item.path, rest, left)
        elif not rest:
            yield item.path


def _names(folder: str, left: list[int]) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as items:
            for item in items:
                left[0] -= 1
                if left[0] < 0:
                    return
                yield item
    except OSError:
        return
