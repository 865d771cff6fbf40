"""Read what is new in an attempt's logs, as events."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from oellm_bench.core.events import LogRead
from oellm_bench.core.layout import AttemptLayout
from oellm_bench.monitoring.log_tail import Chunk, Cursor, read_new
from oellm_bench.monitoring.signals import MOST_MATCHES, Scanner, SeenSignal
from oellm_bench.state.model import AttemptState

_log = logging.getLogger(__name__)


def read_logs(
    entry: str, attempt: AttemptState, layout: AttemptLayout, scanner: Scanner, now: float, *, final: bool
) -> Iterator[LogRead]:
    """Yield one event per stream that grew; with `final` everything to the end of the file is read.

    A log that cannot be read just now (a stale handle, a permission) is tried again in the next cycle.
    """
    counts = Counter(str(signal["name"]) for signal in attempt.signals)
    for stream, path in (("stdout", layout.stdout), ("stderr", layout.stderr)):
        cursor = Cursor.from_document(attempt.cursors.get(stream, {}))
        seen: list[SeenSignal] = []
        begun = cursor
        while True:
            chunk = _read(path, cursor, final)
            if chunk is None:
                break
            seen += scan_counted(scanner, chunk, stream, counts, path)
            cursor = chunk.cursor
            if not final:
                break
        if cursor != begun:
            yield LogRead(
                at=now,
                entry=entry,
                attempt=attempt.number,
                stream=stream,
                cursor=cursor.to_document(),
                signals=tuple(signal.to_document() for signal in seen),
            )


def scan_counted(scanner: Scanner, chunk: Chunk, stream: str, counts: Counter[str], path: Path) -> list[SeenSignal]:
    """Return the matches in a chunk of `path` and add them to `counts`; say once when a signal is at its limit."""
    found = list(scanner.scan(chunk, stream, counts))
    for name, number in Counter(signal.name for signal in found).items():
        counts[name] += number
        if counts[name] == MOST_MATCHES:
            _log.warning(
                "signal %s has fired %d times, last in %s; it is not looked for again", name, counts[name], path
            )
    return found


def file_size(path: Path) -> int:
    """Return a file's size in bytes, 0 where there is none."""
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _read(path: Path, cursor: Cursor, final: bool) -> Chunk | None:
    try:
        return read_new(path, cursor, final=final)
    except OSError:
        return None
