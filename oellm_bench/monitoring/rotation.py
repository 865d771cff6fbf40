"""Find the earlier parts of a log that was rotated."""

from __future__ import annotations

import os
import re
from pathlib import Path

# What rotation appends to a name: a number (logrotate(8), logging.handlers.RotatingFileHandler), or a date (dateext,
# TimedRotatingFileHandler). What is compressed cannot be followed.
_SUFFIX = re.compile(r"[.-](?P<rank>\d[\d.:T_-]*)")


def rotated(path: Path) -> list[Path]:
    """Return the rotated parts of a log that are still there, the oldest first."""
    found: list[tuple[float, int, Path]] = []
    try:
        with os.scandir(path.parent) as items:
            for item in items:
                suffix = _SUFFIX.fullmatch(item.name[len(path.name) :]) if item.name.startswith(path.name) else None
                if suffix is not None and item.is_file(follow_symlinks=False):
                    number = int(suffix["rank"]) if suffix["rank"].isdigit() else 0
                    found.append((item.stat(follow_symlinks=False).st_mtime, -number, path.parent / item.name))
    except FileNotFoundError:
        return []
    return [part for _, _, part in sorted(found)]
