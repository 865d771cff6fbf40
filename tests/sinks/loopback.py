"""What the servers of this folder have in common: on loopback, failing when told to, and down for a while."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from oellm_bench.sinks.base import SinkError


@dataclass
class Fault:
    """What happens to the next request of a method.

    `status` and `retry_after`: refused. `takes`: done all the same. `drops`: no answer. `holds`: no answer in time.
    """

    status: int = 0
    retry_after: str = ""
    error: str = ""
    takes: bool = False
    drops: bool = False
    holds: bool = False


class LoopbackServer:
    """Listens from `listen` to `close`, always on the same port."""

    faults: dict[str, list[Fault]]

    def listen(self, handler: type[BaseHTTPRequestHandler]) -> None:
        self._handler = handler
        self._lock = threading.Lock()
        self._released = threading.Event()
        self._port = 0
        self.up()

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def up(self) -> None:
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), self._handler)
        self._server.daemon_threads = True
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def down(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def close(self) -> None:
        self._released.set()
        self.down()

    @contextmanager
    def outage(self) -> Iterator[None]:
        """Refuse connections for the length of the block."""
        self.down()
        yield
        self.up()

    def fail(self, what: str, *faults: Fault) -> None:
        """Let the next requests of that kind go wrong, one after the other."""
        self.faults.setdefault(what, []).extend(faults)


def until_taken(calls: Sequence[Callable[[], object]], tries: int) -> list[str]:
    """Make calls as the delivery does, each again until it works; return what went wrong on the way."""
    errors = []
    for call in calls:
        for _ in range(tries):
            try:
                call()
                break
            except SinkError as err:
                errors.append(str(err))
        else:
            raise AssertionError(errors)
    return errors
