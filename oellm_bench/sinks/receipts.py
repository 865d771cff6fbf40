"""What a sink's service has taken already: a small file a sink, written before and after each delivery."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from oellm_bench.errors import StateError
from oellm_bench.fileio import WriteError, open_file, quarantine

_SCHEMA_VERSION = 1
_log = logging.getLogger(__name__)


class Receipts:
    """Records by key. A record is written as an intent first, and completed with what the service called its part.

    After a crash between the two, the intent tells that the service has to be asked. `doubtful`: an earlier file could
    not be read, so what has no record may have been delivered all the same.

    The file has one line for each change, so that ten thousand entries cost no more each than ten do. A line that was
    cut short by a crash has no newline, and what it speaks of was not begun: it is taken away.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records: dict[str, dict[str, Any]] = {}
        self._size = 0
        self.doubtful = False
        if path.exists():
            self._read()

    @classmethod
    def of(cls, session_dir: str, sink_name: str) -> Receipts:
        """Return those of a sink in a session, by the name it has in the configuration. Raises StateError, OSError."""
        return cls(Path(session_dir) / "sinks" / f"{quote(sink_name, safe='')}.jsonl")

    def get(self, key: str) -> Mapping[str, Any] | None:
        """Return what was recorded under a key, None where nothing was."""
        return self._records.get(key)

    def put(self, key: str, **values: Any) -> None:
        """Add values to a record, and wait until they are on disk. Raises WriteError."""
        lines = [] if self._size else [{"schema_version": _SCHEMA_VERSION, "doubtful": self.doubtful}]
        self._append([*lines, {"key": key, "values": values}])
        self._records[key] = {**self._records.get(key, {}), **values}

    def under(self, prefix: str) -> dict[str, Mapping[str, Any]]:
        """Return the records whose key begins with a prefix, by the rest of their key, in the order they came."""
        return {key.removeprefix(prefix): value for key, value in self._records.items() if key.startswith(prefix)}

    def _append(self, lines: list[dict[str, Any]]) -> None:
        data = "".join(json.dumps(line, allow_nan=False) + "\n" for line in lines).encode()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("ab") as stream:
                stream.truncate(self._size)
                stream.write(data)
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as err:
            with contextlib.suppress(OSError):
                os.truncate(self._path, self._size)
            raise WriteError(self._path, err) from err
        self._size += len(data)

    def _read(self) -> None:
        try:
            with open_file(self._path) as stream:
                whole, newline, _ = stream.read().rpartition(b"\n")
            header, *changes = map(json.loads, whole.splitlines() or [b"{}"])
            if newline:
                version, self.doubtful = header["schema_version"], bool(header["doubtful"])
                for change in changes:
                    self._records[change["key"]] = {**self._records.get(change["key"], {}), **change["values"]}
                self._size = len(whole) + len(newline)
        except OSError as err:
            raise StateError(f"{self._path} cannot be read ({err.strerror})") from err
        except (ValueError, KeyError, TypeError) as err:
            self._records, self._size, self.doubtful = {}, 0, True
            moved = quarantine(self._path)
            _log.warning("%s cannot be read (%s); kept as %s", self._path, err, moved.name)
            return
        if newline and version != _SCHEMA_VERSION:
            raise StateError(f"{self._path} has schema_version {version}; this version reads {_SCHEMA_VERSION}")
