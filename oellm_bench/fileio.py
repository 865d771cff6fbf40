"""Files that are whole or absent: atomic writes, guarded reads, locks and published folders."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from oellm_bench.errors import StateError


def atomic_write_text(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace `path` with `text` in one step: readers see the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fchmod(stream.fileno(), mode)
            os.fsync(stream.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def atomic_write_json(path: Path, document: object, *, compact: bool = False) -> None:
    """Write JSON atomically; `compact` on one line, which is many times faster for large documents.

    NaN and infinity are refused (ValueError): they are not JSON.
    """
    atomic_write_text(path, json.dumps(document, indent=None if compact else 1, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Return the document in `path`; raise StateError that names the file when it is not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as err:
        raise StateError(f"{path} is not valid JSON ({err}); it was left as it is") from err
    except OSError as err:
        raise StateError(f"{path} cannot be read ({err.strerror})") from err


def quarantine(path: Path) -> Path:
    """Rename an unreadable file to `*.corrupt` (numbered when taken) and return the new name."""
    for number in range(1000):
        target = path.with_name(f"{path.name}.corrupt{number or ''}")
        if not target.exists():
            path.rename(target)
            return target
    raise StateError(f"{path} is unreadable, and a thousand *.corrupt files lie beside it; look into them")


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive advisory lock on `path` (created when absent) for the length of the block."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def published_folder(target: Path) -> Iterator[Path]:
    """Yield a folder beside `target` to fill; it takes the name `target` only when the block succeeds.

    `target` may exist already only as an empty folder. On an error the filled folder is removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        staging.chmod(0o755)
        yield staging
        staging.replace(target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
