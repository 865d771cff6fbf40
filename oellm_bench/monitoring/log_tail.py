"""Follow a growing file by a cursor that survives the follower: whole lines, as bytes, nothing twice."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from oellm_bench.fileio import open_file

_HEAD_BYTES = 256
MAX_BYTES = 16 << 20  # per file and cycle: one chatty job must not starve the others


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """How far a file was read. `head` is a hash of its first bytes: the same inode with another beginning is
    another file. `generation` counts the files that have stood under this name.
    """

    device: int = 0
    inode: int = 0
    offset: int = 0
    head: str = ""
    head_bytes: int = 0
    generation: int = 0

    def to_document(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Cursor:
        """Read what `to_document` wrote."""
        return cls(**document)


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Whole lines read from a file: `data` ends with a newline (or with the file, in the final drain).

    `offset` is where `data` begins in the file; `cursor` is where to go on.
    """

    data: bytes
    offset: int
    cursor: Cursor


def read_new(path: Path, cursor: Cursor, *, final: bool = False, max_bytes: int = MAX_BYTES) -> Chunk | None:
    """Return the whole lines that came after `cursor`, None when there are none.

    A file that shrank, was replaced, or begins with other bytes is read from its start. `final` also takes a
    last line without a newline. A missing file has nothing new. Raises OSError for one that cannot be read.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    same_file = (status.st_dev, status.st_ino) == (cursor.device, cursor.inode)
    if same_file and status.st_size == cursor.offset:
        return None  # the cheap way out for an idle job: no open, no read
    with open_file(path) as stream:
        opened = os.fstat(stream.fileno())
        begun = Cursor(device=opened.st_dev, inode=opened.st_ino, generation=cursor.generation)
        if _continues(stream.read(cursor.head_bytes), opened, cursor):
            begun = cursor
        elif cursor.inode:
            begun = Cursor(device=opened.st_dev, inode=opened.st_ino, generation=cursor.generation + 1)
        stream.seek(0)
        head = stream.read(_HEAD_BYTES)
        stream.seek(begun.offset)
        data = stream.read(max_bytes)
    if not final or len(data) == max_bytes:
        # A progress bar ends its lines with a carriage return.
        whole = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        data = data[:whole] or (data if len(data) == max_bytes else b"")
    if not data:
        return None
    head = head[: begun.offset + len(data)]
    following = Cursor(
        device=begun.device,
        inode=begun.inode,
        offset=begun.offset + len(data),
        head=_digest(head),
        head_bytes=len(head),
        generation=begun.generation,
    )
    return Chunk(data=data, offset=begun.offset, cursor=following)


def _continues(head: bytes, status: os.stat_result, cursor: Cursor) -> bool:
    return (
        (status.st_dev, status.st_ino) == (cursor.device, cursor.inode)
        and status.st_size >= cursor.offset
        and _digest(head) == cursor.head
    )


def _digest(head: bytes) -> str:
    return hashlib.blake2b(head, digest_size=8).hexdigest()
