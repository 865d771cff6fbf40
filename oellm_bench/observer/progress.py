"""How far a command is, from what it writes."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oellm_bench.fileio import open_file

_MOST_BYTES = 1 << 20  # a look; what was written before the last of it is skipped: only the newest line counts
_LONGEST_LINE = 4096


class Progress:
    """Follows logs from their beginning and keeps the groups of the last line that matches."""

    def __init__(self, pattern: str, logs: Sequence[str]) -> None:
        self._pattern = re.compile(pattern.encode()) if pattern else None
        self._read = dict.fromkeys(map(Path, logs), 0)
        self.log_bytes = 0
        self.last: dict[str, Any] = {}

    def look(self, now: float) -> None:
        """Read what is new; `last` gets the groups as numbers where they are, and `at`: when they last changed."""
        self.log_bytes = 0
        for path, position in self._read.items():
            try:
                size = path.stat().st_size
            except OSError:
                continue
            self.log_bytes += size
            if self._pattern is not None and size != position:
                self._read[path] = self._scan(path, position if size > position else 0, size, now)

    def _scan(self, path: Path, position: int, size: int, now: float) -> int:
        """Look through the whole lines from `position` on; returns where the next look begins.

        A carriage return ends a line too: so a progress bar writes it anew.
        """
        assert self._pattern is not None
        start = max(position, size - _MOST_BYTES)
        try:
            with open_file(path) as stream:
                stream.seek(start)
                data = stream.read(_MOST_BYTES)
        except OSError:
            return position
        whole = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        cut = 1 if start > position else 0  # the first line, where it is read from its middle
        for line in reversed(data[:whole].splitlines()[cut:]):
            match = self._pattern.search(line[:_LONGEST_LINE])
            told = match.groupdict() if match else {}
            if told.get("iteration"):
                self._note({name: _number(value) for name, value in told.items() if value}, now)
                break
        return start + whole if whole else start

    def _note(self, found: dict[str, Any], now: float) -> None:
        if found.get("iteration") != self.last.get("iteration"):
            self.last = {**found, "at": now}
        else:
            self.last = {**found, "at": self.last["at"]}


def _number(text: bytes) -> int | float | str:
    """Return the number where it is one that JSON can hold: NaN, infinity and what is beyond 1e308 stay text."""
    decoded = text.decode("utf-8", "replace")
    for kind in (int, float):
        try:
            number = kind(decoded.replace(",", ""))
            return number if math.isfinite(number) else decoded
        except (ValueError, OverflowError):  # OverflowError: a whole number beyond all that a float can be
            continue
    return decoded
