"""Read what is new in an attempt's logs, as events."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from oellm_bench.core.events import LogRead
from oellm_bench.core.layout import AttemptLayout
from oellm_bench.monitoring.log_tail import MAX_BYTES, Chunk, Cursor, is_quiet, read_new
from oellm_bench.monitoring.signals import MOST_MATCHES, Scanner, SeenSignal
from oellm_bench.state.model import AttemptState

_log = logging.getLogger(__name__)
_UNREAD: Mapping[str, Any] = {}


class FollowedLog(NamedTuple):
    """A log of an attempt, and how far it was read. What was last written before `since` (epoch s) is not read.

    `apart`: names of logs that are followed by themselves, whatever they look like: no rotated parts of this one.
    """

    name: str
    path: Path
    cursor: Mapping[str, Any]
    since: float = 0.0
    apart: frozenset[str] = frozenset()


def own_logs(attempt: AttemptState, files: AttemptLayout) -> Iterator[FollowedLog]:
    """Yield what every attempt has: stdout and stderr."""
    for name, path in (("stdout", files.stdout), ("stderr", files.stderr)):
        yield FollowedLog(name, path, attempt.cursors.get(name, _UNREAD))


def read_logs(
    entry: str, attempt: AttemptState, logs: Iterable[FollowedLog], scanner: Scanner, now: float, *, final: bool
) -> Iterator[LogRead]:
    """Yield one event per log that grew; with `final` everything to the end of the file is read.

    A log that cannot be read just now (a stale handle, a permission) is tried again in the next cycle.
    """
    counts: Counter[str] | None = None
    for log in logs:
        # Read under another name before: from now on it is known by this one.
        is_renamed = bool(log.cursor) and log.name not in attempt.cursors
        if not (final or is_renamed) and _is_quiet(log):
            continue
        if counts is None:
            counts = Counter(str(signal["name"]) for signal in attempt.signals)
        cursor = begun = Cursor.from_document(log.cursor)
        seen: list[SeenSignal] = []
        is_alive, left = False, MAX_BYTES
        while (final or left > 0) and (chunk := _read(log, cursor, final)) is not None:
            seen += scan_counted(scanner, chunk, log.name, counts, log.path)
            is_alive = is_alive or scanner.shows_life(chunk.data)
            cursor = chunk.cursor
            left -= len(chunk.data)
        if cursor != begun or is_renamed:
            yield LogRead(
                at=now,
                entry=entry,
                attempt=attempt.number,
                stream=log.name,
                cursor=cursor.to_document(),
                signals=tuple(signal.to_document() for signal in seen),
                noise=not is_alive,
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


def file_status(path: Path) -> os.stat_result | None:
    """Return a file's status, None where there is none or it cannot be asked for."""
    try:
        return path.stat()
    except OSError:
        return None


def _is_quiet(log: FollowedLog) -> bool:
    try:
        return is_quiet(log.path, log.cursor)
    except OSError:
        return False


def _read(log: FollowedLog, cursor: Cursor, final: bool) -> Chunk | None:
    try:
        if not cursor.inode and log.since and log.path.stat().st_mtime < log.since:
            return None
        return read_new(log.path, cursor, final=final, since=log.since, apart=log.apart)
    except OSError:
        return None
