"""Follow a growing file by a cursor that survives the follower: whole lines, as bytes, nothing twice."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Container, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from oellm_bench.fileio import open_file
from oellm_bench.monitoring.rotation import rotated

_HEAD_BYTES = 256
_TAIL_BYTES = 64
SKEW_S = 300.0  # how far a file server's clock may be behind this machine's
MAX_BYTES = 16 << 20  # per file and cycle: one chatty job must not starve the others


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """How far a file was read. `head` and `tail` are hashes of its first bytes and of those before `offset`: the same
    inode with other bytes is another file. `modified_ns` is when it was last written to by then. `generation` counts
    the files that have stood under this name.
    """

    device: int = 0
    inode: int = 0
    offset: int = 0
    head: str = ""
    head_bytes: int = 0
    tail: str = ""
    modified_ns: int = 0
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


def read_new(
    path: Path,
    cursor: Cursor,
    *,
    final: bool = False,
    max_bytes: int = MAX_BYTES,
    since: float = 0.0,
    apart: Container[str] = (),
) -> Chunk | None:
    """Return the whole lines that came after `cursor`, None when there are none.

    A file that was rotated (renamed, or copied and emptied) is read to its end first, then those that came after it;
    one that shrank, was replaced, or has other bytes than those read is read from its start. Of a file that was not
    read before, rotated parts are read too, unless they were last written before `since` (epoch seconds). Paths in
    `apart` are no parts. `final`
    also takes a last line without a newline. A missing file has nothing new. Raises OSError for one that cannot be
    read.
    """
    # A file server's client may know an old size; at the end it is opened, which makes the client ask.
    if not final and is_quiet(path, vars(cursor)):
        return None
    status = _status(path)
    with contextlib.ExitStack() as opened:
        # Opened before the rotated ones are listed: a rotation in between hides nothing.
        newest = None if status is None else opened.enter_context(open_file(path))
        if newest is not None and cursor.inode and _continues(newest, cursor):
            return _chunk(newest, cursor, final=final, max_bytes=max_bytes)
        others = (opened.enter_context(open_file(part)) for part in rotated(path) if str(part) not in apart)
        parts = [part for part in others if newest is None or not _is_same_or_copy(part, newest)]
        unread, begun = _unread(parts, cursor, since)
        unread += [] if newest is None else [newest]
        return _first_chunk(unread, begun, final=final, max_bytes=max_bytes)


def _unread(parts: list[BinaryIO], cursor: Cursor, since: float) -> tuple[list[BinaryIO], Cursor]:
    """Return the rotated parts that are not read yet, or not to their ends, and where to go on in the first file."""
    if not cursor.inode:
        return [part for part in parts if os.fstat(part.fileno()).st_mtime >= since], cursor
    copies = [number for number, part in enumerate(parts) if _has_been_read(part, cursor)]
    itself = [number for number in copies if _is_same_file(parts[number], cursor)]
    if not copies:
        return [], Cursor(generation=cursor.generation + 1)  # nobody knows which of the others came after it
    return parts[(itself or copies)[-1] :], cursor


def _first_chunk(files: list[BinaryIO], begun: Cursor, *, final: bool, max_bytes: int) -> Chunk | None:
    """Return what comes next in files that follow on each other."""
    for number, stream in enumerate(files):
        # What was renamed may still be written to, until there is something in the file that took its place.
        left_behind = any(os.fstat(later.fileno()).st_size for later in files[number + 1 :])
        status = os.fstat(stream.fileno())
        begun = replace(begun, device=status.st_dev, inode=status.st_ino)
        chunk = _chunk(stream, begun, final=final or left_behind, max_bytes=max_bytes)
        if chunk is not None or not left_behind:
            return chunk
        begun = Cursor(generation=begun.generation + 1)
    return None


def _chunk(stream: BinaryIO, begun: Cursor, *, final: bool, max_bytes: int) -> Chunk | None:
    """Return the lines from `begun` on, None where there is no whole one."""
    modified_ns = os.fstat(stream.fileno()).st_mtime_ns
    start = _next_data(stream, begun.offset)
    head = _read(stream, 0, _HEAD_BYTES)
    size = os.fstat(stream.fileno()).st_size
    data = _read(stream, start, max(0, min(max_bytes, size - start)))
    if not final or len(data) == max_bytes:
        # A progress bar ends its lines with a carriage return.
        whole = max(data.rfind(b"\n"), data.rfind(b"\r")) + 1
        data = data[:whole] or (data if len(data) == max_bytes else b"")
    if not data:
        return None
    offset = start + len(data)
    head = head[:offset]
    following = replace(
        begun,
        offset=offset,
        head=_digest(head),
        head_bytes=len(head),
        modified_ns=modified_ns,
        tail=_digest(_read(stream, max(0, offset - _TAIL_BYTES), min(offset, _TAIL_BYTES))),
    )
    return Chunk(data=data, offset=start, cursor=following)


def is_quiet(path: Path, cursor: Mapping[str, Any]) -> bool:
    """Tell whether a log has nothing new: the cheap way out for an idle job, without an open or a read.

    `cursor` is a document, empty for a log that was not read yet. Raises OSError.
    """
    status = _status(path)
    if not cursor.get("inode"):
        # Parts that were rotated before the first look are read once something follows them, or at the end.
        return status is None or not status.st_size
    if status is None:
        return False
    same_file = status.st_ino == cursor["inode"] and status.st_dev == cursor["device"]
    # Emptied and written again to the same length it has another time; a cursor of an earlier release knows none.
    unchanged = cursor.get("modified_ns", 0) in (0, status.st_mtime_ns)
    return same_file and status.st_size == cursor["offset"] and unchanged


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None
    except OSError as err:
        if err.errno != errno.ESTALE:
            raise
        return path.stat()  # the handle is of a file that another client has replaced: the name leads to the new one


def _continues(stream: BinaryIO, cursor: Cursor) -> bool:
    return _is_same_file(stream, cursor) and _has_been_read(stream, cursor)


def _is_same_file(stream: BinaryIO, cursor: Cursor) -> bool:
    status = os.fstat(stream.fileno())
    return (status.st_dev, status.st_ino) == (cursor.device, cursor.inode)


def _has_been_read(stream: BinaryIO, cursor: Cursor) -> bool:
    """Tell whether a file has the bytes that were read, at their places."""
    if os.fstat(stream.fileno()).st_size < cursor.offset:
        return False
    if _digest(_read(stream, 0, cursor.head_bytes)) != cursor.head:
        return False
    length = min(cursor.offset, _TAIL_BYTES)
    # A cursor of an earlier release has no tail.
    return not cursor.tail or _digest(_read(stream, cursor.offset - length, length)) == cursor.tail


def _is_same_or_copy(part: BinaryIO, newest: BinaryIO) -> bool:
    """Tell whether a part is the newest file itself, or a copy of it that was made before it is emptied.

    Such a copy begins as the file does, and is written after it; a part that was renamed is the older one.
    """
    if os.path.sameopenfile(part.fileno(), newest.fileno()):
        return True
    copy, source = os.fstat(part.fileno()), os.fstat(newest.fileno())
    if copy.st_size > source.st_size or copy.st_mtime_ns < source.st_mtime_ns:
        return False
    tail = max(0, copy.st_size - _TAIL_BYTES)
    ends = ((0, min(copy.st_size, _HEAD_BYTES)), (tail, copy.st_size - tail))
    return all(_read(part, *end) == _read(newest, *end) for end in ends)


def _next_data(stream: BinaryIO, offset: int) -> int:
    """Return where data comes next: a file that was emptied under a writer begins with a hole of any length."""
    try:
        return os.lseek(stream.fileno(), offset, os.SEEK_DATA)
    except OSError as err:
        # Nothing but a hole up to the end, or a file system that cannot tell.
        return os.fstat(stream.fileno()).st_size if err.errno == errno.ENXIO else offset


def _read(stream: BinaryIO, offset: int, size: int) -> bytes:
    # Past the buffer: it would not know of the looks for data.
    return os.pread(stream.fileno(), size, offset)


def _digest(head: bytes) -> str:
    return hashlib.blake2b(head, digest_size=8).hexdigest()
