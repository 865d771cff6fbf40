"""Read what is new in an attempt's logs, as events."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from oellm_bench.core.events import LogRead
from oellm_bench.core.layout import AttemptLayout
from oellm_bench.monitoring.log_tail import Chunk, Cursor, read_new
from oellm_bench.monitoring.signals import Scanner, SeenSignal
from oellm_bench.state.fold import AttemptState


def read_logs(
    entry: str, attempt: AttemptState, layout: AttemptLayout, scanner: Scanner, now: float, *, final: bool
) -> Iterator[LogRead]:
    """Yield one event per stream that grew; with `final` everything to the end of the file is read.

    A log that cannot be read just now (a stale handle, a permission) is tried again in the next cycle.
    """
    fired = {signal["name"] for signal in attempt.signals}
    for stream, path in (("stdout", layout.stdout), ("stderr", layout.stderr)):
        cursor = Cursor.from_document(attempt.cursors.get(stream, {}))
        seen: list[SeenSignal] = []
        begun = cursor
        while True:
            chunk = _read(path, cursor, final)
            if chunk is None:
                break
            matches = list(scanner.scan(chunk, stream, frozenset(fired)))
            fired |= {signal.name for signal in matches}
            seen += matches
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


def last_line(path: Path, *, limit: int = 300) -> str:
    """Return the last line of a log that says something, empty where there is none."""
    lines = log_end(path).splitlines()
    return next((line.strip()[:limit] for line in reversed(lines) if line.strip()), "")


def log_end(path: Path, *, size: int = 8192) -> str:
    """Return the last `size` bytes of a log as text, empty where it cannot be read."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - size))
            return stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def _read(path: Path, cursor: Cursor, final: bool) -> Chunk | None:
    try:
        return read_new(path, cursor, final=final)
    except OSError:
        return None
