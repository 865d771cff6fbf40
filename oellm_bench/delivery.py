"""Results to sinks: each result to each sink, again until the sink has taken it, one sink's trouble its own."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from oellm_bench.core.events import Delivered
from oellm_bench.core.result import EntryResult
from oellm_bench.sinks.base import Notice, Sink
from oellm_bench.state.model import SessionState

_log = logging.getLogger(__name__)
_MOST_NOTICES = 20  # of one look
_MOST_FAILURES = 5  # in a row; then the sink is left alone for the rest of the session


class SinkDelivery:
    """The sinks of one session.

    What was delivered is in the journal, so a monitor started anew goes on where the last one stopped. A sink
    that keeps failing is given up and named in `failed`; it never stops the campaign.
    """

    def __init__(self, sinks: Mapping[str, Sink], session_name: str, environment: Mapping[str, Any]) -> None:
        self._sinks = dict(sinks)
        self._session_name = session_name
        self._environment = environment
        self._failures: dict[str, int] = {}
        self._ready: set[str] = set()
        self.failed: dict[str, str] = {}

    def deliver(self, results: Iterable[EntryResult], state: SessionState, now: float) -> Iterator[Delivered]:
        """Hand over what a sink has not had yet, and yield an event for each result it has taken."""
        found = list(results)
        for name, sink in self._sinks.items():
            for result in found:
                key = (name, result.id)
                if name in self.failed or key in state.delivered or not self._begin(name, sink):
                    continue
                if not self._call(name, functools.partial(sink.process_result, result.to_document())):
                    break
                yield Delivered(at=now, sink=name, entry=result.id)

    def tell(self, notices: Iterable[Notice], state: SessionState, now: float) -> Iterator[Delivered]:
        """Hand over the notices that a sink has not had yet, and yield an event for each that it has taken."""
        found = list(notices)
        for name, sink in self._sinks.items():
            told = 0
            for notice in found:
                if told == _MOST_NOTICES:
                    break  # the rest with the next look: what is told, and not yet journalled, is told again
                if name in self.failed or (name, notice.key) in state.told or not self._begin(name, sink):
                    continue
                if not self._call(name, functools.partial(sink.notify, notice)):
                    break
                yield Delivered(at=now, sink=name, notice=notice.key)
                told += 1

    def is_complete(self, state: SessionState) -> bool:
        """Tell whether every sink has every finished entry's result and every notice, or has been given up."""
        told = all(name in self.failed or (name, key) in state.told for name in self._sinks for key in state.notices)
        return told and all(self.has_all(entry.id, state) for entry in state.entries.values() if entry.over)

    def has_all(self, entry: str, state: SessionState) -> bool:
        """Tell whether every sink that still works has taken this entry's result."""
        return all(name in self.failed or (name, entry) in state.delivered for name in self._sinks)

    def close(self, now: float) -> Iterator[Delivered]:
        """Tell the sinks that the session has ended."""
        for name, sink in self._sinks.items():
            if name in self.failed:
                continue
            if self._begin(name, sink) and self._call(name, sink.finalize):
                yield Delivered(at=now, sink=name)
            else:
                self.failed[name] = "it did not take the end of the session"

    def _begin(self, name: str, sink: Sink) -> bool:
        if name not in self._ready and self._call(
            name, functools.partial(sink.initialize, self._session_name, self._environment)
        ):
            self._ready.add(name)
        return name in self._ready

    def _call(self, name: str, call: Callable[[], None]) -> bool:
        try:
            call()
        except Exception as err:  # a sink's code is not ours; whatever it raises must not stop the monitor
            self._failures[name] = self._failures.get(name, 0) + 1
            _log.warning("sink %s: %s", name, err)
            if self._failures[name] >= _MOST_FAILURES:
                self.failed[name] = str(err)
                _log.warning("sink %s is given up after %d failures", name, _MOST_FAILURES)
            return False
        self._failures[name] = 0
        return True
