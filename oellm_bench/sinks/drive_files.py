"""Which files of a session go to Google Drive, opened so that no link leads out of it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import logging
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_PIECE = 1024 * 1024
_MOST_FILES = 1000  # of one entry
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Upload:
    """One file to be sent: `path` below `root`, `name` where it goes; of a log only the last `tail_bytes`, 0: all."""

    root: Path
    path: str
    name: str
    tail_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class Content:
    """An open file: `size` bytes from `start` on, with their MD5 in hex."""

    stream: BinaryIO
    start: int
    size: int
    md5: str

    def read(self, offset: int, size: int) -> bytes:
        """Return a piece, `offset` counted from the first byte that is sent."""
        self.stream.seek(self.start + offset)
        return self.stream.read(min(size, self.size - offset))


def chosen(root: Path, folder: Path, patterns: Sequence[str], tail_bytes: int = 0) -> list[Upload]:
    """Return the files in a folder below `root` that fit any of the patterns, in order, a thousand at most."""
    found = {
        str(path.relative_to(folder)): str(path.relative_to(root))
        for pattern in patterns
        for path in sorted(folder.glob(pattern))
        if path.is_file() and not path.is_symlink()
    }
    if len(found) > _MOST_FILES:
        _log.warning("%s: of %d files the first %d are sent", folder, len(found), _MOST_FILES)
    some = itertools.islice(found.items(), _MOST_FILES)
    return [Upload(root=root, path=path, name=name, tail_bytes=tail_bytes) for name, path in some]


@contextlib.contextmanager
def opened(upload: Upload) -> Iterator[Content]:
    """Open a file to be sent and take its MD5.

    Raises OSError for what is no file, and where a link stands anywhere between the root and the file.
    """
    with _open_beneath(upload.root, Path(upload.path)) as stream:
        size = os.fstat(stream.fileno()).st_size
        start = max(0, size - upload.tail_bytes) if upload.tail_bytes else 0
        digest = hashlib.md5(usedforsecurity=False)  # Drive tells the MD5 of what it has
        stream.seek(start)
        left = size - start
        while left and (piece := stream.read(min(_PIECE, left))):
            digest.update(piece)
            left -= len(piece)
        yield Content(stream=stream, start=start, size=size - start - left, md5=digest.hexdigest())


def _open_beneath(root: Path, path: Path) -> BinaryIO:
    """Open folder by folder: what was no link a moment ago may be one now."""
    if path.is_absolute() or ".." in path.parts:
        raise OSError(errno.EPERM, "it is outside of the session", str(path))
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    folder = os.open(root, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        for part in path.parts[:-1]:
            inner = os.open(part, flags | os.O_DIRECTORY, dir_fd=folder)
            os.close(folder)
            folder = inner
        descriptor = os.open(path.name, flags | os.O_NONBLOCK, dir_fd=folder)
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(f"{path} is no file")
    return os.fdopen(descriptor, "rb")
