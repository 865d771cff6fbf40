"""Use the head that is kept for all entries of a session (`keeper.py` is the other side)."""

from __future__ import annotations

import json
import os
import select
import socket
from pathlib import Path
from typing import Any

from . import processes
from .node import StartFailed, Stopped, without_foreign

_LOOK_S = 0.05  # for TERM: the answer itself is not waited for longer than it takes


class LentHead:
    """A head of others, ours to use as long as this process lives."""

    process = None  # none of ours

    def __init__(self, connection: socket.socket, address: str, token: str) -> None:
        self._connection = connection
        self._token = token
        self.address = address

    def environment(self, **more: str) -> dict[str, str]:
        """Return this process's environment with the token of this cluster in place of any other's."""
        return {**without_foreign(os.environ), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self._token, **more}

    def end(self) -> str:
        """Return how the head has ended, empty while it runs."""
        try:
            told = self._connection.recv(4096, socket.MSG_DONTWAIT)
            return f"with {json.loads(told)['ended']}"
        except BlockingIOError:
            return ""
        except (OSError, ValueError):  # nothing told, and no more to come
            return "with the process that kept it"

    def give_back(self) -> None:
        """Tell that it is no longer used."""
        self._connection.close()


def connect(socket_path: Path) -> socket.socket | None:
    """Return a connection to who keeps the head, None where nobody does."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        folder = os.open(socket_path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # The path of a socket may have 107 bytes, that of a session any number.
            connection.connect(f"/proc/self/fd/{folder}/{socket_path.name}")
        finally:
            os.close(folder)
    except OSError:
        connection.close()
        return None
    return connection


def borrow(socket_path: Path) -> LentHead | None:
    """Return the session's head once it is up, None where nobody keeps one.

    Raises StartFailed with the reason why there is none, Stopped on TERM or INT.
    """
    connection = connect(socket_path)
    if connection is None:
        return None
    try:
        connection.sendall(b"entry\n")
        answer = _answer(connection)
    except OSError:  # it ended just now
        answer = None
    except BaseException:
        connection.close()
        raise
    if answer is None:
        connection.close()
        return None
    return LentHead(connection, answer["address"], answer["token"])


def _answer(connection: socket.socket) -> dict[str, Any] | None:
    """Return what is answered, None where the other side has ended."""
    text = b""
    while not text.endswith(b"\n"):
        if select.select((connection,), (), (), _LOOK_S)[0]:
            more = connection.recv(4096)
            if not more:
                return None
            text += more
        if processes.next_signal(0) in processes.STOP:
            raise Stopped
    answer: dict[str, Any] = json.loads(text)
    if "failure" in answer:
        raise StartFailed(answer["failure"])
    return answer
