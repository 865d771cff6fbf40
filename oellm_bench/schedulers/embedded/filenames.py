"""Expand the patterns of --output and --error.

Source: sbatch(1), FILENAME PATTERN.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_PATTERN = re.compile(r"%(?P<width>\d*)(?P<letter>[%A-Za-z])")
_NO_TASK = str(2**32 - 2)  # what Slurm writes for %a outside an array


def expand(pattern: str, values: Mapping[str, str]) -> str:
    """Return the file name; a width (`%4j`) pads numbers with zeros, a letter without value stays."""

    def replacement(match: re.Match[str]) -> str:
        letter = match["letter"]
        if letter == "%":
            return "%"
        value = values.get(letter)
        if value is None:
            return match[0]
        return value.zfill(min(int(match["width"] or 0), 10)) if value.isdigit() else value

    return _PATTERN.sub(replacement, pattern)


def pattern_values(*, raw_id: int, job: int, task: int | None, name: str, node: str, user: str) -> dict[str, str]:
    """Return the letters' values for a batch script."""
    return {
        "A": str(job),
        "a": _NO_TASK if task is None else str(task),
        "J": str(raw_id),
        "j": str(raw_id),
        "N": node,
        "n": "0",
        "s": "batch",
        "t": "0",
        "u": user,
        "x": name,
    }
