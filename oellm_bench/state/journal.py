"""An append-only file of events: one JSON line each, on disk before anything is done about them."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from oellm_bench.core.events import SCHEMA_VERSION, Event, from_document
from oellm_bench.errors import StateError
from oellm_bench.state.migration import migrated, version_of


class Journal:
    """One session's journal. Several processes may append; each takes in what the others wrote.

    A line that was cut short by a crash has no newline: it is left out when read, and the next append takes it
    away. Everything else that is no event of this version is refused: guessing would lose jobs.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
        self._version = SCHEMA_VERSION

    def read_new(self) -> Iterator[Event]:
        """Yield the events appended since the last call, by whichever process. Raises StateError."""
        try:
            with self.path.open("rb") as stream:
                stream.seek(self._offset)
                for line in stream:
                    if not line.endswith(b"\n"):
                        return
                    event = self._event(line) if line != b"\n" else None
                    self._offset += len(line)
                    if event is not None:
                        yield event
        except FileNotFoundError:
            return
        except OSError as err:
            raise StateError(f"{self.path} cannot be read ({err.strerror}); nothing was changed") from err

    def append(self, events: Sequence[Event]) -> None:
        """Write events and wait until they are on disk. Call with the session locked, after `read_new()`.

        Raises StateError where the disk does not take them; then nothing may be acted upon.
        """
        if not events:
            return
        data = "".join(json.dumps(event.to_document(), allow_nan=False) + "\n" for event in events).encode()
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab") as stream:
                if stream.tell() > self._offset:
                    stream.truncate(self._offset)  # the torn line of a writer that died
                    stream.seek(self._offset)
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
                self._offset = stream.tell()
        except OSError as err:
            self._take_back()
            raise StateError(f"{self.path} cannot be written ({err.strerror}); nothing was done") from err

    def _take_back(self) -> None:
        """Take away the lines of an append that failed in the middle, where that can be done."""
        with contextlib.suppress(OSError):
            os.truncate(self.path, self._offset)

    def _event(self, line: bytes) -> Event:
        try:
            document = json.loads(line)
            self._version = version_of(document, self._version)
            if self._version != SCHEMA_VERSION:
                document = migrated(document, self._version)
            return from_document(document)
        except StateError as err:
            raise StateError(f"{self.path}: {err}; nothing was done") from err
        except (ValueError, TypeError, AttributeError) as err:
            fix = "it was changed by hand, by a failing disk, or by another version; nothing was done"
            raise StateError(f"{self.path}: a line is no event of this version ({err}): {line[:80]!r}; {fix}") from err
