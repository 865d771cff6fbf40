"""Results and notices to sinks: each to each sink, again until the sink has taken it, one sink's trouble its own."""

from __future__ import annotations

import itertools
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from oellm_bench.core.events import Delivered, Event, SinkFailed
from oellm_bench.outbox import Leftover, Outbox, counts
from oellm_bench.placeholders import printable
from oellm_bench.report_writing import ReportWriter
from oellm_bench.sink_channel import Call, Channel, Outcome, notice_call
from oellm_bench.sinks.base import DRAIN_S, Progress
from oellm_bench.state.model import SessionState

_log = logging.getLogger(__name__)
_MOST_CALLS = 50  # handed over in one look
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 60.0
_MOST_TRIES = 5  # of one item, while others of the same sink go through
_MOST_WAITS = 5  # in a row in which a sink only asked for time
_MOST_ERRORS_TOLD = 3  # in the log, of one sink

Key = tuple[str, str]


@dataclass(kw_only=True)
class Route:
    """One sink: the way to it, and how it fares."""

    channel: Channel
    drain_s: float = DRAIN_S
    wants_progress: bool = False
    pause_s: float = 0.0
    due_at: float = -math.inf
    drained_at: float = math.inf  # when the monitor stops trying
    failures: dict[Key, int] = field(default_factory=dict)
    tries: dict[Key, int] = field(default_factory=dict)
    told: Progress | None = None
    errors_told: int = 0
    error_in_log: str = ""  # the last one
    waits: int = 0
    stuck: bool = False  # nothing of what was handed over last went through, or will soon

    def is_given_up(self, kind: str, key: str) -> bool:
        """Tell whether this one item is tried no more: the sink takes others, and not this one."""
        return self.tries.get((kind, key), 0) >= _MOST_TRIES

    def take(self, outcomes: Sequence[Outcome], now: float) -> None:
        """Learn from what came back: when to try again, and which items are to blame themselves."""
        passed = {outcome.call.kind for outcome in outcomes if not outcome.error} - {"progress"}
        pauses = [outcome.answer.after_s for outcome in outcomes if outcome.answer.after_s is not None]
        failed = [outcome for outcome in outcomes if outcome.has_failed]
        for outcome in failed:
            key = (outcome.call.kind, outcome.call.key)
            self.failures[key] = self.failures.get(key, 0) + 1
            # A sink may have nothing to do about notices: that it takes them says nothing of results.
            self.tries[key] = self.tries.get(key, 0) + (outcome.call.kind in passed)
        if outcomes:
            again = _FIRST_PAUSE_S if passed or not self.pause_s else min(2 * self.pause_s, _LONGEST_PAUSE_S)
            self.pause_s = again if failed else 0.0
            asked_s = max(pauses, default=0.0)
            self.waits = 0 if passed or not asked_s else self.waits + 1
            waits_long = asked_s > _LONGEST_PAUSE_S or self.waits >= _MOST_WAITS
            self.stuck = (bool(failed) or waits_long) and not passed
            # One that asks for no time at all is not to be asked again within the same look.
            self.due_at = now + max(self.pause_s, asked_s, _FIRST_PAUSE_S if pauses else 0.0)


class SinkDelivery:
    """The sinks of one session, none of which is waited for.

    What was delivered is in the journal, so a monitor started anew goes on where the last one stopped. A sink that
    is down is tried again for as long as the session lasts; it never stops the campaign. `make_result` returns what
    a sink is told of an entry, by the entry's id and the sink's name. `page` is written before a sink is told of the
    end: that may send it on, or tell people where it is.
    """

    def __init__(
        self,
        routes: Mapping[str, Route],
        outbox: Outbox,
        make_result: Callable[[str, str], Mapping[str, Any]],
        page: ReportWriter | None = None,
    ) -> None:
        self._routes = dict(routes)
        self._outbox = outbox
        self._make_result = make_result
        self._page = page

    @property
    def busy(self) -> bool:
        """Whether a sink has yet to answer."""
        return any(not route.channel.idle for route in self._routes.values())

    def deliver(self, state: SessionState, now: float, *, ending: bool = False) -> list[Delivered | SinkFailed]:
        """Take in what sinks have answered, hand over what they have not had yet, and return what is to be journalled.

        `ending`: nothing more will come, so a sink that has had everything is told of the end.
        """
        ending = ending and self._has_page()
        events: list[Delivered | SinkFailed] = []
        for name, route in self._routes.items():
            found = self._taken(name, route, state, now, ending=ending)
            route.drained_at = min(route.drained_at, now + route.drain_s) if ending else math.inf
            while route.channel.idle and now >= route.due_at:
                calls = self._calls(name, route, state, had=_had(found), ending=ending)
                if not calls:
                    break
                route.channel.hand_over(calls)
                found += self._taken(name, route, state, now, ending=ending)
            events += found
        if self._routes and not events:
            self._outbox.settle(self._routes, state)
        return events

    def may_end(self, state: SessionState, now: float) -> bool:
        """Tell whether an ended session need not wait: its sinks have everything, or had their time."""
        return self._has_page() and all(
            now >= route.drained_at or ((name, "") in state.delivered and not self._owed(name, state))
            for name, route in self._routes.items()
        )

    def is_tried(self, state: SessionState, *, ending: bool) -> bool:
        """Tell whether each sink has everything there is by now, or has just refused what was left."""
        return not self.busy and all(
            route.stuck or not (self._owed(name, state) or (ending and (name, "") not in state.delivered))
            for name, route in self._routes.items()
        )

    def untold(self, leftover: Leftover) -> Leftover:
        """Return a leftover without its reason where that is the last thing the log says of the sink."""
        route = self._routes.get(leftover.sink)
        is_told = route is not None and route.error_in_log == leftover.message
        return replace(leftover, message="") if is_told else leftover

    def close(self) -> None:
        """End what runs for the sinks."""
        if self._page is not None:
            self._page.close()
        for route in self._routes.values():
            route.channel.close()

    def _has_page(self) -> bool:
        return self._page is None or self._page.is_done()

    def _owed(self, name: str, state: SessionState) -> bool:
        """Tell whether there is something for a sink that has not been given up alone."""
        return next(self._items(name, self._routes[name], state), None) is not None

    def _items(self, name: str, route: Route, state: SessionState) -> Iterator[Call]:
        """Yield what a sink is owed, results without their content."""
        for entry in self._outbox.results(name, state):
            if not route.is_given_up("result", entry):
                yield Call(kind="result", key=entry)
        for notice in self._outbox.notices(name, state):
            if not route.is_given_up("notice", notice.key):
                yield notice_call(notice)

    def _calls(self, name: str, route: Route, state: SessionState, *, had: frozenset[Key], ending: bool) -> list[Call]:
        """Return the next calls: what has failed least first, results with their content."""
        items: Iterable[Call] = (call for call in self._items(name, route, state) if (call.kind, call.key) not in had)
        if route.failures:
            items = sorted(items, key=lambda call: route.failures.get((call.kind, call.key), 0))
        calls = [self._filled(name, call) for call in itertools.islice(items, _MOST_CALLS)]
        if route.wants_progress and (now := counts(state)) != route.told:
            route.told = now
            calls.append(Call(kind="progress", document=asdict(now)))
        ended = (name, "") in state.delivered or ("end", "") in had
        if ending and not calls and not ended:
            calls.append(Call(kind="end"))
        return calls

    def _filled(self, name: str, call: Call) -> Call:
        if call.kind != "result":
            return call
        return Call(kind=call.kind, key=call.key, document=self._make_result(call.key, name))

    def _taken(
        self, name: str, route: Route, state: SessionState, now: float, *, ending: bool
    ) -> list[Delivered | SinkFailed]:
        """Return events for what a sink has taken, and for a reason to refuse that is not in the journal yet.

        That it only asks for time is such a reason where it asks for long, and at the end: nobody may be there any
        more when it is over.
        """
        outcomes = list(route.channel.outcomes())
        route.take(outcomes, now)
        events: list[Delivered | SinkFailed] = []
        for call in (outcome.call for outcome in outcomes if not outcome.error):
            if call.kind == "notice":
                events.append(Delivered(at=now, sink=name, notice=call.key))
            elif call.kind in ("result", "end"):
                events.append(Delivered(at=now, sink=name, entry=call.key))
        least_s = 0.0 if ending else _LONGEST_PAUSE_S
        refused = [
            outcome.error
            for outcome in outcomes
            if outcome.has_failed or (outcome.error and (outcome.answer.after_s or 0.0) >= least_s)
        ]
        error = printable(refused[-1]) if refused else ""
        if error and error != state.sink_errors.get(name):
            if route.errors_told < _MOST_ERRORS_TOLD:
                _log.warning("sink %s: %s", name, error)
                route.error_in_log = error
            route.errors_told += 1
            events.append(SinkFailed(at=now, sink=name, message=error))
        return events


def _had(events: Sequence[Event]) -> frozenset[Key]:
    """Return what these events say was taken, which the state does not know yet."""
    taken = [event for event in events if isinstance(event, Delivered)]
    return frozenset(
        ("notice", event.notice) if event.notice else ("result" if event.entry else "end", event.entry)
        for event in taken
    )
