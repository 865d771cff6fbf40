"""The monitor's end of a sink's worker process: start it, ask it, and kill it where it does not answer."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oellm_bench.placeholders import printable
from oellm_bench.shell import ending

_START_S = 60.0  # interpreter, imports and the sink's own beginning, on a machine that has other things to do
_END_S = 10.0  # for a worker that has nothing left to do
_READ_BYTES = 1 << 16
_LONGEST_ANSWER_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of a call: `error` is empty where the sink has taken it.

    `after_s`: it has not failed, it asks for another try after so many seconds.
    """

    error: str = ""
    after_s: float | None = None


class SinkSilent(Exception):
    """A worker gave no answer; it is gone."""


@dataclass(kw_only=True)
class SinkProcess:
    """One sink's worker, started when there is something to tell, and anew after it was killed or has died.

    `head` is its first line: what sink, of what session. `log` takes what it writes to stdout and stderr.
    One thread calls it; `kill` may come from another one.
    """

    name: str
    head: Mapping[str, Any]
    log: Path
    timeout_s: float
    _process: subprocess.Popen[bytes] | None = None
    _ready: bool = False
    _closed: bool = False

    def call(self, kind: str, document: Mapping[str, Any]) -> Answer:
        """Make a call and return what became of it."""
        try:
            if not self._ready:
                self._start()
                begun = self._ask({"kind": "begin"}, self.timeout_s + _START_S)
                if begun.error:
                    return begun
                self._ready = True
            return self._ask({"kind": kind, "document": document}, self.timeout_s)
        except (SinkSilent, OSError) as err:
            self._bury()
            return Answer(error=str(err))
        except (TypeError, ValueError, RecursionError) as err:
            return Answer(error=f"it cannot be told as JSON ({err})")  # nothing was sent

    def end(self) -> None:
        """Let the worker end by itself, for a while."""
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
        self._bury()

    def kill(self) -> None:
        """End the worker and all that it started, at once and for good."""
        self._closed = True
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    def _start(self) -> None:
        """Start the worker where it does not run. Raises OSError, SinkSilent after `kill`."""
        if self._closed:
            raise SinkSilent("the monitor ends")
        if self._process is not None:
            return
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                (sys.executable, "-P", "-m", "oellm_bench.sink_worker"),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        os.set_blocking(self._process.stdin.fileno(), False)
        os.set_blocking(self._process.stdout.fileno(), False)

    def _ask(self, request: Mapping[str, Any], limit_s: float) -> Answer:
        """Return the worker's answer. Raises SinkSilent, OSError."""
        if request["kind"] == "begin":
            request = {**request, **self.head}
        answer = self._exchange(json.dumps(request, allow_nan=False).encode() + b"\n", limit_s)
        try:
            document = json.loads(answer)
            return Answer(error=printable(str(document["error"])), after_s=document["after_s"])
        except (ValueError, KeyError, TypeError) as err:
            raise SinkSilent(f"its worker gave no answer that can be read; see {self.log}") from err

    def _exchange(self, data: bytes, limit_s: float) -> bytes:
        """Write a line and return the next one. Raises SinkSilent."""
        process, deadline = self._process, time.monotonic() + limit_s
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        left, answer = memoryview(data), b""
        with selectors.DefaultSelector() as ready:
            ready.register(process.stdout, selectors.EVENT_READ)
            ready.register(process.stdin, selectors.EVENT_WRITE)
            while not answer.endswith(b"\n") and len(answer) < _LONGEST_ANSWER_BYTES:
                found = ready.select(max(0.0, deadline - time.monotonic()))
                if not found:
                    raise SinkSilent(f"no answer within {limit_s:g} s; its worker was killed, see {self.log}")
                for key, _ in found:
                    if key.fileobj is process.stdin:
                        left = left[_written(process.stdin.fileno(), left) :]
                        if not left:
                            ready.unregister(process.stdin)
                    elif not (part := os.read(process.stdout.fileno(), _READ_BYTES)):
                        raise SinkSilent(f"its worker {self._how_it_ended()}; see {self.log}")
                    else:
                        answer += part
        return answer

    def _how_it_ended(self) -> str:
        assert self._process is not None
        try:
            return ending(self._process.wait(_END_S))
        except subprocess.TimeoutExpired:
            return "closed its channel"

    def _bury(self) -> None:
        """Kill what is left of the worker's group and forget it."""
        process, self._process, self._ready = self._process, None, False
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()


def _written(descriptor: int, data: memoryview) -> int:
    try:
        return os.write(descriptor, data)
    except BlockingIOError:
        return 0
    except BrokenPipeError as err:
        raise SinkSilent("its worker has closed its channel") from err
