"""Find the newest checkpoint that is whole. The standard library only: it runs in the job."""

from __future__ import annotations

import contextlib
import json
import os
import re
from pathlib import Path

from oellm_bench.core.resume import Resume, number_of
from oellm_bench.fileio import open_file
from oellm_bench.matching import matching

_NUMBERS = re.compile(r"\d+")
_ZIP = b"PK\x03\x04"  # what torch.save has written since 1.6
_LONGEST_NUMBER = 64  # bytes of a tracker
_LONGEST_HEADER = 32 << 20  # of a safetensors file


def newest_checkpoint(resume: Resume) -> str:
    """Return the path of the checkpoint that was written last and is whole, empty where there is none.

    What was being written when the attempt before was killed is passed over: a folder without the file that is
    written last, an empty file, and a cut-off file of a kind that tells its own length. Where a tracker tells which
    one is whole it decides, not the time: nothing above its number counts, and without it nothing does.
    """
    if resume.tracker:
        return _newest_tracked(resume)
    found: list[tuple[int, list[int], str]] = []
    for name in matching(resume.pattern):
        with contextlib.suppress(OSError, UnicodeEncodeError):  # deleted meanwhile; a name that is no text
            numbers = [int(text) for text in _NUMBERS.findall(Path(name).name) if name.encode()]
            found.append((_written_ns(Path(name), resume.complete), numbers, name))
    return next((name for _, _, name in sorted(found, reverse=True) if _is_whole(Path(name), resume.complete)), "")


def _newest_tracked(resume: Resume) -> str:
    found = []
    for name in matching(resume.pattern):
        with contextlib.suppress(OSError, ValueError):  # no tracker, or one that names no number
            with open_file(Path(name).with_name(resume.tracker)) as stream:
                last = int(stream.read(_LONGEST_NUMBER))
            if number_of(name) <= last:
                found.append((number_of(name), name))
    return next((name for _, name in sorted(found, reverse=True) if _is_whole(Path(name), resume.complete)), "")


def _written_ns(path: Path, complete: str) -> int:
    """Return when a checkpoint was written: what is deleted from a folder later makes it no newer."""
    if not path.is_dir():
        return path.stat().st_mtime_ns
    if complete:
        return (path / complete).stat().st_mtime_ns
    return max((item.stat().st_mtime_ns for item in path.iterdir()), default=path.stat().st_mtime_ns)


def _is_whole(path: Path, complete: str) -> bool:
    try:
        if path.is_dir():
            return (path / complete).is_file() if complete else any(path.iterdir())
        return path.stat().st_size > 0 and _ends_where_it_says(path)
    except OSError:
        return False


def _ends_where_it_says(path: Path) -> bool:
    """Tell whether a file has all that its format says it has; of other formats nothing is known."""
    with open_file(path) as stream:
        begin = stream.read(8)
        if begin.startswith(_ZIP):
            import zipfile

            return zipfile.is_zipfile(path)
        if path.suffix != ".safetensors":
            return True
        # 8 bytes of length, then JSON with the place of every tensor after it (safetensors format, 0.4).
        length = int.from_bytes(begin, "little")
        if length > _LONGEST_HEADER:
            return False
        try:
            header = json.loads(stream.read(length))
            end = max((item["data_offsets"][1] for key, item in header.items() if key != "__metadata__"), default=0)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError):
            return False
        return os.fstat(stream.fileno()).st_size >= 8 + length + int(end)
