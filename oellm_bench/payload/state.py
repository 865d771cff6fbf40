"""What the programs of one attempt tell each other, in a file: written by the first node's, read by all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from .processes import say


class State:
    """What the supervisor outside reads: times in epoch seconds, return code negative for a signal."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._values: dict[str, Any] = {"failure": "", "message": "", "returncode": None}
        self.update()  # tells that we run at all

    def update(self, **values: Any) -> None:
        """Add values and replace the file; a full disk is no reason to leave the head running."""
        self._values.update(values)
        temporary = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        try:
            temporary.write_text(json.dumps(self._values, indent=1) + "\n", encoding="utf-8")
            temporary.replace(self._path)
        except OSError as err:
            say(f"{self._path} cannot be written ({err.strerror})")


def read(path: Path) -> dict[str, Any]:
    """Return what is told so far; nothing where there is nothing yet."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
