"""Ways to a sink: called at once where that is cheap, else over a process of its own and a thread that waits for it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

from oellm_bench.results.reading import encodable
from oellm_bench.sink_process import Answer, SinkProcess
from oellm_bench.sinks.base import Notice, Progress, Sink, TryAgain

_MOST_FAILURES = 2  # in a row; then the rest of a batch is left for the next one


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call of a sink: `kind` is `result`, `notice`, `progress` or `end`; `key` tells it from others of its kind."""

    kind: str
    key: str = ""
    document: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A call and its answer."""

    call: Call
    answer: Answer

    @property
    def error(self) -> str:
        """Why the sink has not taken it; empty where it has."""
        return self.answer.error

    @property
    def has_failed(self) -> bool:
        """Whether the sink could not take it; one that asks for time has not failed."""
        return bool(self.answer.error) and self.answer.after_s is None


class Channel(Protocol):
    """Takes calls without making its caller wait for a service."""

    @property
    def idle(self) -> bool:
        """Whether all that was handed over has its outcome."""

    def hand_over(self, calls: Sequence[Call]) -> None:
        """Begin these calls, in this order; ask for it only while idle."""

    def outcomes(self) -> Iterator[Outcome]:
        """Yield what has come back since the last time; calls without an outcome were not made."""

    def close(self) -> None:
        """End what was begun for it."""


class DirectChannel:
    """Calls a sink in this very process."""

    idle = True

    def __init__(self, sink: Sink, session_name: str, environment: Mapping[str, Any]) -> None:
        self._sink = sink
        self._session = (session_name, environment)
        self._ready = False
        self._found: list[Outcome] = []

    def hand_over(self, calls: Sequence[Call]) -> None:
        """Make the calls."""
        self._found += in_turn(calls, self._make)

    def outcomes(self) -> Iterator[Outcome]:
        """Yield what came of the calls."""
        found, self._found = self._found, []
        yield from found

    def close(self) -> None:
        """Leave the sink alone."""

    def _make(self, call: Call) -> Answer:
        try:
            if not self._ready:
                self._sink.initialize(*self._session)
            self._ready = True
            call_sink(self._sink, call.kind, call.document)
        except TryAgain as err:
            return Answer(error=str(err), after_s=err.after_s)
        except Exception as err:  # whatever a sink raises must not stop the monitor
            return Answer(error=f"{type(err).__name__}: {err}")
        return Answer()


class ProcessChannel:
    """Makes calls in a worker process, one after the other; its thread waits, nobody else does."""

    def __init__(self, process: SinkProcess) -> None:
        self._process = process
        self._batches: queue.SimpleQueue[Sequence[Call] | None] = queue.SimpleQueue()
        self._found: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._idle = threading.Event()
        self._idle.set()

    @property
    def idle(self) -> bool:
        """Whether the thread has nothing to do."""
        return self._idle.is_set()

    def hand_over(self, calls: Sequence[Call]) -> None:
        """Give the thread its next batch; the first one starts it."""
        self._idle.clear()
        self._batches.put(tuple(calls))
        if self._thread is None:
            # A daemon: who is interrupted does not wait for a service.
            self._thread = threading.Thread(target=self._work, name=f"sink {self._process.name}", daemon=True)
            self._thread.start()

    def outcomes(self) -> Iterator[Outcome]:
        """Yield what the thread has brought back."""
        while True:
            try:
                yield self._found.get_nowait()
            except queue.Empty:
                return

    def close(self) -> None:
        """End the worker: by itself where it has nothing to do, else at once; what it had not answered comes again."""
        if self._thread is None:
            return
        if not self.idle:
            self._process.kill()
        self._batches.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (batch := self._batches.get()) is not None:
            for outcome in in_turn(batch, lambda call: self._process.call(call.kind, call.document)):
                self._found.put(outcome)
            self._idle.set()
        self._process.end()


def in_turn(calls: Sequence[Call], make: Callable[[Call], Answer]) -> Iterator[Outcome]:
    """Make calls until two in a row have failed, or the sink asks for a pause: the rest need not be tried then."""
    failures = 0
    for call in calls:
        answer = make(call)
        yield Outcome(call=call, answer=answer)
        failures = failures + 1 if answer.error else 0
        if failures == _MOST_FAILURES or answer.after_s is not None:
            return


def call_sink(sink: Sink, kind: str, document: Mapping[str, Any]) -> None:
    """Make one call of an initialised sink, with text that any service can be sent, whatever a job wrote."""
    document = encodable(document)
    if kind == "result":
        sink.process_result(document)
    elif kind == "notice":
        sink.notify(Notice(**document))
    elif kind == "progress":
        sink.progress(Progress(**document))
    else:
        sink.finalize()


def notice_call(notice: Notice) -> Call:
    """Return the call that tells a notice."""
    return Call(kind="notice", key=notice.key, document=asdict(notice))
