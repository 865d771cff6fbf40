"""Who monitors a session: one process at a time, and a dead one is found out at once."""

from __future__ import annotations

import logging
import os
import socket
import typing
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from oellm_bench.clock import Clock
from oellm_bench.errors import AlreadyWatched, StateError
from oellm_bench.fileio import atomic_write_json, file_lock, quarantine, read_json, remove_parts

_log = logging.getLogger(__name__)
_CLOCK_S = 2.0  # by which a process seems to have started earlier or later when the machine's clock is set right


@dataclass(frozen=True, kw_only=True)
class Holder:
    """The process that holds a lease; `fencing` rises by one with every holder."""

    host: str
    pid: int
    process_started_at: float
    boot_id: str
    fencing: int
    expires_at: float


class Lease:
    """The right to act on a session."""

    def __init__(self, path: Path, clock: Clock, *, length_s: float) -> None:
        self._path = path
        self._clock = clock
        self._length_s = length_s
        self._fencing = 0

    def acquire(self) -> None:
        """Take the lease from nobody, from a dead process or from one that let it expire.

        A lease that nobody can read is set aside: it keeps nobody out. Raises StateError naming the holder
        otherwise.
        """
        with file_lock(self._path.with_suffix(".lock")):
            remove_parts(self._path)
            lost = self._set_aside_unreadable()
            holder = self.holder()
            if holder is not None and self._is_alive(holder):
                raise AlreadyWatched(
                    f"the session is watched already, by process {holder.pid} on {holder.host}; wait for it, or end it"
                )
            # The number in a lost lease is not known; seconds since 1970 are above any count of holders.
            last = int(self._clock.now()) if lost else 0
            self._fencing = (holder.fencing if holder else last) + 1
            self._write()

    def renew(self) -> None:
        """Hold on for another length. Raises StateError where another process has taken over meanwhile."""
        with file_lock(self._path.with_suffix(".lock")):
            holder = self.holder()
            if holder is None or holder.fencing != self._fencing:
                raise StateError("another monitor has taken this session over; this one stops")
            self._write()

    def release(self) -> None:
        """Give the lease back, if it is still this process's; with the session archived it is gone already."""
        if not self._path.exists():
            return
        with file_lock(self._path.with_suffix(".lock")):
            holder = self.holder()
            if holder is not None and holder.fencing == self._fencing:
                self._path.unlink(missing_ok=True)

    def holder(self) -> Holder | None:
        """Return who holds the lease, None when nobody does or nobody can tell. Raises StateError."""
        try:
            return _read(self._path)
        except ValueError as err:
            _log.warning("%s is no lease (%s): nobody holds the session", self._path, err)
            return None

    def _set_aside_unreadable(self) -> bool:
        """Rename a file that is no lease; only under the lock, where it cannot be another's new one."""
        try:
            _read(self._path)
        except ValueError as err:
            _log.warning("%s is no lease (%s); kept as %s", self._path, err, quarantine(self._path).name)
            return True
        return False

    def _is_alive(self, holder: Holder) -> bool:
        if (holder.host, holder.boot_id) == (socket.gethostname(), _boot_id()):
            started_at = _started_at(holder.pid)
            return started_at is not None and abs(started_at - holder.process_started_at) < _CLOCK_S
        return self._clock.now() < holder.expires_at

    def _write(self) -> None:
        holder = Holder(
            host=socket.gethostname(),
            pid=os.getpid(),
            process_started_at=_started_at(os.getpid()) or 0.0,
            boot_id=_boot_id(),
            fencing=self._fencing,
            expires_at=self._clock.now() + self._length_s,
        )
        atomic_write_json(self._path, asdict(holder))


def _read(path: Path) -> Holder | None:
    """Return what a lease's file says, None where there is none. Raises ValueError for any other content."""
    try:
        document = read_json(path)
    except StateError as err:
        if isinstance(err.__cause__, FileNotFoundError):
            return None
        if isinstance(err.__cause__, OSError):
            raise  # it may be a good lease all the same
        raise ValueError("not JSON") from err
    types = typing.get_type_hints(Holder)
    if not isinstance(document, dict) or document.keys() != types.keys():
        raise ValueError("other keys")
    wrong = [name for name, kind in types.items() if type(document[name]) not in (kind, int if kind is float else kind)]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} of another type")
    return Holder(**document)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _started_at(pid: int) -> float | None:
    """Return when a process started (epoch seconds), None for one that is gone, or ended and only not waited for."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None
