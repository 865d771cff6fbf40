"""Folders for Ray's temporary files: short, each with an owner, removed when the owner is gone."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from pathlib import Path

# <folder>/session_<date>_<7-digit pid>/sockets/plasma_store has to fit into the 107 bytes of a socket path.
LONGEST = 43
_PREFIX, _LOCK = "obr-", "owner.lock"


def make() -> Path:
    """Return a new folder that this process owns as long as it lives. Raises OSError where there is none to be had."""
    room = LONGEST - len(f"/{_PREFIX}") - 8
    for root in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"):  # noqa: S108 - mkdtemp is safe there
        if len(root.encode()) <= room:
            _remove_ownerless(Path(root))
            with contextlib.suppress(OSError):
                folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=root))
                _own(folder)
                return folder
    raise OSError(f"no writable folder for temporary files with a path of at most {room} bytes; set TMPDIR")


def _own(folder: Path) -> None:
    """Hold the folder's lock as long as this process lives; the file shows up under its name already locked."""
    part = folder / f"{_LOCK}.part"
    fcntl.flock(os.open(part, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), fcntl.LOCK_EX)
    part.rename(folder / _LOCK)


def _remove_ownerless(root: Path) -> None:
    """Remove the folders of those that were killed with all that could have removed them."""
    for lock in root.glob(f"{_PREFIX}*/{_LOCK}"):
        with contextlib.suppress(OSError), lock.open("r+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.parent, ignore_errors=True)
