"""Keep what is installed for one interpreter, for the other entries of a session that run the same one here."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oellm_bench.errors import StateError
from oellm_bench.fileio import atomic_write_json, read_json

# What decides, beside the interpreter, where packages are looked for. Source: python(1), the site module, conda.
_DECIDING = (
    *("PYTHONPATH", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONUSERBASE", "PYTHONSAFEPATH", "PYTHONPLATLIBDIR"),
    *("CONDA_PREFIX", "HOME"),
)
# A folder that was changed just before it was read may change again without its time telling. Two seconds are the
# coarsest time that a file system keeps (FAT; NFS servers before version 4 keep one).
_SETTLED_NS = 2_000_000_000


class Kept:
    """The list for one interpreter and environment, in a folder that entries share.

    Entries that run at once may each write theirs: they say the same, and each is whole. Nothing is kept where the
    interpreter is a script: which Python a version manager's shim starts is decided by files that nobody names.
    """

    def __init__(self, folder: Path, argv: list[str], environment: Mapping[str, str], cwd: str) -> None:
        program = str(Path(cwd, argv[0])) if "/" in argv[0] else argv[0]
        found = shutil.which(program, path=environment.get("PATH", os.defpath)) or ""
        self._asked = {
            "program": found,
            "cwd": cwd,
            "environment": {name: environment[name] for name in _DECIDING if name in environment},
        }
        self._path: Path | None = None
        if found.startswith("/") and _is_binary(found):
            name = zlib.crc32(json.dumps(self._asked).encode())  # the question stands in the file: this only finds it
            self._path = folder / f"{name:08x}.json"

    def read(self) -> dict[str, Any] | None:
        """Return the document, None where there is none or anything has changed that it was read from."""
        if self._path is None:
            return None
        with contextlib.suppress(StateError, OSError, TypeError, KeyError, AttributeError):
            kept = read_json(self._path)
            watched = kept["document"]["watched"]
            if kept["asked"] == self._asked and all(_state(path) == state for path, state in watched.items()):
                return dict(kept["document"])
        return None

    def write(self, document: Mapping[str, Any]) -> None:
        """Keep a document that says what it was read from, unless that was changed only just now."""
        watched = document.get("watched")
        if self._path is None or not isinstance(watched, dict):
            return
        newest = max((state[0] for state in watched.values() if state), default=0)
        if newest < document["read_at_ns"] - _SETTLED_NS:
            with contextlib.suppress(OSError):
                atomic_write_json(self._path, {"asked": self._asked, "document": dict(document)}, compact=True)


def _state(path: str) -> list[int] | None:
    """Return what changes when something is installed there, as the payload's `packages` tells it."""
    try:
        status = Path(path).stat()
    except OSError:
        return None
    return [status.st_mtime_ns, status.st_ino]


def _is_binary(program: str) -> bool:
    try:
        with Path(program).open("rb") as stream:
            return stream.read(4) == b"\x7fELF"
    except OSError:
        return False
