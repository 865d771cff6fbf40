"""Keep one head for all entries of a session: `python -m oellm_bench.payload keep SPEC.json`, detached.

A job's processes all end with it, so that a head which several jobs use cannot be started by any of them. This is
started by who submits them. It listens on a socket in SPEC's folder, starts the head when the first entry asks for
it, starts another where that one has died, and ends with it when the session is over, or when nobody has been
connected for `linger_s`. A connection is a lease: it ends with the process that holds it, however that ends.

An entry says `entry` and is told `{"address": ..., "token": ...}` or `{"failure": ...}`; a program that submits says
`driver`, and `end` when its session is over. The token is told on the socket alone, which only its owner can open.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import socket
import time
from pathlib import Path
from typing import Any

from . import processes
from .head import start_head
from .node import RayNode, StartFailed, Stopped
from .state import State

SOCKET, LOCK = "head.sock", "keeper.lock"
_LOOK_S = 1.0  # whoever connects, leaves or asks wakes us: this is for TERM, and for a session that is over or gone


def main(spec_path: str) -> int:
    """Detach and keep the head; return at once where another process does."""
    folder = Path(spec_path).parent
    os.chdir(folder)  # the path of a socket must be short, whatever the folder's is
    lock = os.open(LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return 0
    with contextlib.suppress(FileNotFoundError):
        Path(SOCKET).unlink()
    os.umask(0o077)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(SOCKET)
        listener.listen(128)
        if os.fork():
            os._exit(0)  # whoever started us can connect
        os.setsid()
        processes.prepare()
        keeper = _Keeper(json.loads(Path(spec_path).read_text(encoding="utf-8")), folder.absolute(), listener)
        with contextlib.suppress(Stopped):
            try:
                keeper.serve()
            finally:
                keeper.stop()
    return 0


class _Keeper:
    """The head, where there is one, and those who are connected."""

    def __init__(self, spec: dict[str, Any], folder: Path, listener: socket.socket) -> None:
        self._spec = spec
        self._folder = folder
        self._listener = listener
        self._state = State(folder / "state.json")
        self._head: RayNode | None = None
        self._address = ""
        self._watch = -1  # becomes readable when the head ends
        self._drivers: set[socket.socket] = set()
        self._entries: set[socket.socket] = set()
        self._end_wanted = False
        self._left_at = time.monotonic()

    def serve(self) -> None:
        """Answer whoever asks until nobody is to come any more. Raises Stopped on TERM and INT."""
        while not self._is_done():
            waiting: list[Any] = [
                self._listener,
                *self._drivers,
                *self._entries,
                *([self._watch] if self._watch >= 0 else []),
            ]
            ready = select.select(waiting, (), (), _LOOK_S)[0]
            if processes.next_signal(0) in processes.STOP:
                raise Stopped
            self._look_at_head()
            for one in ready:
                if one is self._listener:
                    self._drivers.add(self._listener.accept()[0])  # until it says that it is an entry
                elif isinstance(one, socket.socket):
                    self._hear(one)

    def stop(self) -> None:
        """Let go of everyone, end the head and keep its logs."""
        with contextlib.suppress(OSError):
            if Path(self._folder, SOCKET).samefile(SOCKET):
                Path(SOCKET).unlink()
        self._listener.close()
        self._stop_head()
        for one in (*self._entries, *self._drivers):
            one.close()

    def _hear(self, one: socket.socket) -> None:
        try:
            said = one.recv(64)
        except OSError:
            said = b""
        if not said:
            one.close()
            self._drivers.discard(one)
            self._entries.discard(one)
            self._left_at = time.monotonic()
        elif said == b"entry\n":
            self._drivers.discard(one)
            self._entries.add(one)
            _tell(one, self._lent())
        elif said.endswith(b"end\n"):
            self._end_wanted = True

    def _lent(self) -> dict[str, Any]:
        """Return what an entry is told: where the head is, started now if need be, or why there is none."""
        if self._head is None:
            try:
                self._head, self._address = start_head(self._spec, self._state, Path(self._spec["logs_path"]))
            except StartFailed as err:
                return {"failure": f"that of the session: {err}"}
            with contextlib.suppress(OSError, AttributeError):  # Linux before 5.3: it is looked at all the same
                self._watch = os.pidfd_open(self._head.process.pid)
        return {"address": self._address, "token": self._head.token}

    def _look_at_head(self) -> None:
        """Clear away a head that has ended, and tell who uses it."""
        if self._head is None:
            return
        processes.reap(self._head.process)
        if self._head.process.returncode is not None:
            for one in self._entries:
                _tell(one, {"ended": self._head.process.returncode})
            self._stop_head()

    def _stop_head(self) -> None:
        head, self._head = self._head, None
        if self._watch >= 0:
            os.close(self._watch)
            self._watch = -1
        if head is not None:
            head.stop(Path(self._spec["logs_path"]))

    def _is_done(self) -> bool:
        """Tell whether nobody is to come any more: never while an entry runs."""
        if self._entries:
            return False
        if self._end_wanted or Path(self._spec["over_path"]).exists() or not self._folder.exists():
            return True
        return not self._drivers and time.monotonic() - self._left_at > self._spec["linger_s"]


def _tell(one: socket.socket, document: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):
        one.sendall(json.dumps(document).encode() + b"\n")
