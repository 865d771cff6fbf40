"""An append-only file of events: one JSON line each, on disk before anything is done about them."""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from oellm_bench.core.events import Event, from_document
from oellm_bench.errors import StateError

_log = logging.getLogger(__name__)


class Journal:
    """One session's journal. Several processes may append; each takes in what the others wrote.

    A line that was cut short by a crash is never half an event: it has no newline, is left out when read, and
    the next append begins on a line of its own.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0
        self._torn = 0

    @property
    def exists(self) -> bool:
        """Whether anything was ever written."""
        return self._path.exists()

    def read_new(self) -> list[Event]:
        """Return the events appended since the last call, by whichever process.

        Raises StateError for a whole line that is no event of this version: guessing would lose jobs.
        """
        try:
            with self._path.open("rb") as stream:
                stream.seek(self._offset)
                data = stream.read()
        except FileNotFoundError:
            return []
        except OSError as err:
            raise StateError(f"{self._path} cannot be read ({err.strerror}); nothing was changed") from err
        whole = data[: data.rfind(b"\n") + 1]
        events = [event for line in whole.splitlines() if (event := self._event(line)) is not None]
        self._offset += len(whole)
        return events

    def append(self, events: Sequence[Event]) -> None:
        """Write events and wait until they are on disk. Call inside `locked()`, after `read_new()`.

        Raises StateError where the disk does not take them; then nothing may be acted upon.
        """
        if not events:
            return
        data = "".join(json.dumps(event.to_document(), allow_nan=False) + "\n" for event in events).encode()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as stream:
                if stream.tell() > self._offset:
                    stream.write(b"\n")  # a torn line of a writer that died
                    self._offset = stream.tell()
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
                self._offset = stream.tell()
        except OSError as err:
            raise StateError(f"{self._path} cannot be written ({err.strerror}); nothing was done") from err

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from appending for the length of the block."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.with_suffix(".lock").open("a") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def _event(self, line: bytes) -> Event | None:
        if not line.strip():
            return None
        try:
            return from_document(json.loads(line))
        except json.JSONDecodeError:
            # Only a torn append looks like this: appends are whole lines, and the next one starts afresh.
            self._torn += 1
            _log.warning("%s: a line was cut short by a crash and is left out: %.80r", self._path, line)
            return None
        except ValueError as err:
            raise StateError(f"{self._path}: {err}; a newer oellm-bench wrote it, use that one") from err
