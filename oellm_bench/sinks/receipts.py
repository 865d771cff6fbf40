"""What a sink's service has taken already: one small file a sink, written before and after each delivery."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from oellm_bench.errors import StateError
from oellm_bench.fileio import atomic_write_json, quarantine, read_json

_SCHEMA_VERSION = 1
_log = logging.getLogger(__name__)


class Receipts:
    """Records by key. A record is written as an intent first, and completed with what the service called its part.

    After a crash between the two, the intent tells that the service has to be asked. `doubtful`: an earlier file could
    not be read, so what has no record may have been delivered all the same.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._records: dict[str, dict[str, Any]] = {}
        self.doubtful = False
        if path.exists():
            self._read()

    @classmethod
    def of(cls, session_dir: str, sink_name: str) -> Receipts:
        """Return those of a sink in a session, by the name it has in the configuration. Raises StateError, OSError."""
        return cls(Path(session_dir) / "sinks" / f"{quote(sink_name, safe='')}.json")

    def get(self, key: str) -> Mapping[str, Any] | None:
        """Return what was recorded under a key, None where nothing was."""
        return self._records.get(key)

    def put(self, key: str, **values: Any) -> None:
        """Add values to a record and write the file. Raises WriteError."""
        self._records[key] = {**self._records.get(key, {}), **values}
        document = {"schema_version": _SCHEMA_VERSION, "doubtful": self.doubtful, "records": self._records}
        atomic_write_json(self._path, document, compact=True)

    def under(self, prefix: str) -> dict[str, Mapping[str, Any]]:
        """Return the records whose key begins with a prefix, by the rest of their key, in the order they came."""
        return {key.removeprefix(prefix): value for key, value in self._records.items() if key.startswith(prefix)}

    def _read(self) -> None:
        try:
            document = read_json(self._path)
            version = document["schema_version"]
            records = {str(key): dict(value) for key, value in document["records"].items()}
        except (StateError, KeyError, TypeError, ValueError, AttributeError) as err:
            self.doubtful = True
            moved = quarantine(self._path)
            _log.warning("%s cannot be read (%s); kept as %s", self._path, err, moved.name)
            return
        if version != _SCHEMA_VERSION:
            raise StateError(f"{self._path} has schema_version {version}; this version reads {_SCHEMA_VERSION}")
        self._records, self.doubtful = records, bool(document.get("doubtful"))
