"""Files that are whole or absent: atomic writes, guarded reads, locks and published folders."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import glob
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from oellm_bench.errors import StateError

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class WriteError(StateError, OSError):
    """A file of ours cannot be written; `filename` and `strerror` are those of the system's error."""

    def __init__(self, path: Path, err: OSError) -> None:
        # mkdir says EEXIST of a file that stands where a folder has to be.
        number = errno.ENOTDIR if err.errno == errno.EEXIST else err.errno
        super().__init__(number, os.strerror(number) if number else str(err), str(path))

    def __str__(self) -> str:
        """Name the file, the reason and what to do."""
        fix = "free some space there" if self.errno in NO_SPACE else "see that its folder is there and writable"
        return f"{self.filename} cannot be written ({self.strerror}); {fix}, then try again"


def atomic_write_text(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace `path` with `text` in one step: readers see the old file or the new one, never a part.

    Raises WriteError, which is a StateError and an OSError alike.
    """
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, text, mode)


def atomic_write_json(path: Path, document: object, *, compact: bool = False) -> None:
    """Write JSON atomically; `compact` on one line, which is many times faster for large documents.

    NaN and infinity are refused (ValueError): they are not JSON.
    """
    atomic_write_text(path, json.dumps(document, indent=None if compact else 1, allow_nan=False) + "\n")


def remove_parts(path: Path) -> None:
    """Remove what writers of `path` have left that were killed; call under the lock that all of them hold."""
    for part in path.parent.glob(f".{glob.escape(path.name)}.*"):
        part.unlink(missing_ok=True)


def open_file(path: Path) -> BinaryIO:
    """Open a file that a script may have written. Raises OSError for a FIFO, a device or a folder, and at once."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        number, text = (errno.EISDIR, os.strerror(errno.EISDIR)) if stat.S_ISDIR(mode) else (errno.EINVAL, "no file")
        raise OSError(number, text, str(path))
    return os.fdopen(descriptor, "rb")


def is_there(path: Path) -> bool:
    """Tell whether there is something of that name; not where its folder is closed to us, or cannot be asked."""
    try:
        return path.exists()
    except OSError:
        return False


def append_text(path: Path, text: str) -> None:
    """Append to a file of ours where a script may have put something else.

    Raises OSError for a link, a FIFO, a device or a folder, and at once.
    """
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o644)
    with os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace") as stream:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "no file", str(path))
        stream.write(text)


def read_json(path: Path) -> Any:
    """Return the document in `path`; raise StateError that names the file when it is not JSON."""
    try:
        with open_file(path) as stream:
            return json.loads(stream.read().decode("utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as err:
        raise StateError(f"{path} is not valid JSON ({err}); it was left as it is") from err
    except OSError as err:
        raise StateError(f"{path} cannot be read ({err.strerror})") from err


def quarantine(path: Path) -> Path:
    """Rename an unreadable file to `*.corrupt` (numbered when taken) and return the new name."""
    for number in range(1000):
        target = path.with_name(f"{path.name}.corrupt{number or ''}")
        if not target.exists():
            with _naming(target):
                path.rename(target)
            return target
    raise StateError(f"{path} is unreadable, and a thousand *.corrupt files lie beside it; look into them")


@contextlib.contextmanager
def file_lock(path: Path) -> Iterator[None]:
    """Hold an exclusive advisory lock on `path` (created when absent) for the length of the block.

    Raises WriteError where the lock cannot be had at all; what the block raises is its own.
    """
    with contextlib.ExitStack() as held:
        with _naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            stream = held.enter_context(path.open("a"))
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


def _replace(path: Path, text: str, mode: int) -> None:
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


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Turn the system's errors inside the block into one that names the file as its reader knows it."""
    try:
        yield
    except OSError as err:
        raise WriteError(path, err) from err


def last_line(path: Path, *, limit: int = 300) -> str:
    """Return the last line of a log that says something, empty where there is none."""
    lines = log_end(path).splitlines()
    return next((line.strip()[:limit] for line in reversed(lines) if line.strip()), "")


def log_end(path: Path, *, size: int = 8192) -> str:
    """Return the last `size` bytes of a log as text, empty where it cannot be read."""
    try:
        with open_file(path) as stream:
            stream.seek(max(0, stream.seek(0, 2) - size))
            return stream.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
