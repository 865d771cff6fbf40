"""Small JSON files between processes, whole or absent.

Not fileio: its imports would cost every job 35 ms.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def write_record(path: Path, document: dict[str, Any]) -> None:
    """Put the document at `path` in one step, replacing what is there."""
    draft = _draft(path, document)
    try:
        draft.replace(path)
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def create_record(path: Path, document: dict[str, Any]) -> bool:
    """Put the document at `path` unless there is one; tells whether it did. Atomic between processes."""
    draft = _draft(path, document)
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    return True


def read_record(path: Path) -> dict[str, Any] | None:
    """Return the document, None where there is no file."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    document: dict[str, Any] = json.loads(text)
    return document


def poke(wake: Path) -> bool:
    """Make the controller look; False where none is alive (no reader has the fifo open)."""
    try:
        descriptor = os.open(wake, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # ENXIO: no reader; ENOENT: no controller ever
        return False
    try:
        os.write(descriptor, b".")
    except BlockingIOError:  # full of unread pokes: it will look all the same
        return True
    except BrokenPipeError:  # it has ended since
        return False
    finally:
        os.close(descriptor)
    return True


def _draft(path: Path, document: dict[str, Any]) -> Path:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8") as stream:
        json.dump(document, stream)
        stream.flush()
        os.fsync(stream.fileno())
    return draft
