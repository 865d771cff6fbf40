"""Results and notices to sinks: each again until taken, one sink's trouble its own."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from oellm_bench.clock import ManualClock
from oellm_bench.core.events import Decided, Delivered, Ended, Intended, Noticed, Selected, SinkFailed
from oellm_bench.delivery import Route, SinkDelivery
from oellm_bench.outbox import Outbox, ends, leftovers
from oellm_bench.sink_channel import DirectChannel
from oellm_bench.sinks.base import Sink, TryAgain
from oellm_bench.state.fold import apply
from oellm_bench.state.model import SessionState

ENTRIES = "abcdef"
PLAN = SimpleNamespace(by_id={name: SimpleNamespace(name=f"entry {name}") for name in ENTRIES})


class Recording(Sink):
    """Keeps what it is told, and refuses what the test says."""

    def __init__(self, refuses=()):
        self.heard: list[str] = []
        self.refuses = set(refuses)

    def _hear(self, what: str) -> None:
        if what in self.refuses:
            raise ConnectionError(f"no {what}")
        self.heard.append(what)

    def initialize(self, session_name, env_data):
        self._hear("initialize")

    def process_result(self, result):
        self._hear(result["id"])

    def notify(self, notice):
        self._hear(f"{notice.kind} {notice.entry} {notice.message}")

    def finalize(self):
        self._hear("finalize")


class Told:
    """A delivery to sinks, with the session's state kept by the events alone."""

    def __init__(self, drain_s: float = 60.0, **sinks: Sink) -> None:
        self.sinks, self.drain_s, self.page = sinks, drain_s, None
        self.clock, self.state = ManualClock(), SessionState()
        self.events: list[object] = []
        self.another_monitor()

    def another_monitor(self) -> None:
        routes = {
            name: Route(channel=DirectChannel(sink, "s", {}), drain_s=self.drain_s) for name, sink in self.sinks.items()
        }
        self.delivery = SinkDelivery(routes, Outbox(PLAN), lambda entry, sink: {"id": entry, "for": sink}, self.page)

    def happen(self, *events: object) -> None:
        for event in events:
            apply(event, self.state)

    def over(self, *entries: str, mode: str = "success") -> None:
        for entry in entries:
            self.happen(
                Selected(at=0.0, entries=(entry,)),
                Intended(at=0.0, token=entry, entries=(entry,), attempt=1, timeout_s=1.0),
                Ended(at=1.0, entry=entry, attempt=1, mode=mode, reason="so it is"),
                Decided(at=1.0, entry=entry, attempt=1, restart=False, reason="no more"),
            )

    def look(self, times: int = 1, pause_s: float = 1.0, *, ending: bool = False) -> None:
        for _ in range(times):
            found = self.delivery.deliver(self.state, self.clock.now(), ending=ending)
            self.events += found
            self.happen(*found)
            self.clock.sleep(pause_s)

    def may_end(self) -> bool:
        return self.delivery.may_end(self.state, self.clock.now())


def test_each_result_once_and_the_end_last():
    sink = Recording()
    told = Told(sink=sink)
    told.over("a", "b")
    told.look(3)
    told.over("c")
    told.look(3, ending=True)
    told.another_monitor()
    told.look(3, ending=True)
    assert sink.heard == ["initialize", "a", "b", "c", "finalize"]
    assert told.may_end()
    assert leftovers(["sink"], PLAN, told.state) == []


def test_a_sink_is_told_of_the_end_when_the_page_is_written_and_nobody_waits_before():
    class Page:
        written = False

        def is_done(self):
            return self.written

        def close(self):
            pass

    sink, page = Recording(), Page()
    told = Told(sink=sink)
    told.page = page
    told.another_monitor()
    told.over("a")
    told.look(100, ending=True)
    assert sink.heard == ["initialize", "a"] and not told.may_end()
    page.written = True
    told.look(ending=True)
    assert sink.heard[-1] == "finalize" and told.may_end()


def test_hundreds_of_results_need_one_look():
    sink = Recording()
    told = Told(sink=sink)
    names = [f"e{number}" for number in range(300)]
    PLAN.by_id.update({name: SimpleNamespace(name=name) for name in names})
    told.over(*names)
    told.look()
    assert sink.heard == ["initialize", *names]


def test_one_sinks_trouble_is_its_own_and_is_tried_again_for_as_long_as_it_lasts():
    good, bad = Recording(), Recording(["a", "b", "c"])
    told = Told(good=good, bad=bad)
    told.over("a", "b", "c")
    told.look(2000)
    assert (good.heard, bad.heard) == (["initialize", "a", "b", "c"], ["initialize"])
    bad.refuses.clear()
    told.look(61)
    assert bad.heard == ["initialize", "a", "b", "c"]


def test_pauses_double_up_to_a_minute_and_the_reason_is_journalled_once():
    class Counting(Recording):
        calls = 0

        def process_result(self, result):
            Counting.calls += 1
            raise ConnectionError("nobody there")

    told = Told(sink=Counting())
    told.over("a")
    told.look(64)
    assert Counting.calls == 7  # at 0, 1, 3, 7, 15, 31 and 63 s
    told.look(600)
    assert Counting.calls == 17
    (event,) = told.events
    assert event == SinkFailed(at=event.at, sink="sink", message="ConnectionError: nobody there")


def test_a_sink_that_asks_for_a_pause_gets_it_and_has_not_failed():
    class Busy(Recording):
        asked = 0

        def process_result(self, result):
            Busy.asked += 1
            if Busy.asked <= 8:
                raise TryAgain("no more requests for 30 s", 30.0)
            super().process_result(result)

    sink = Busy()
    told = Told(sink=sink)
    told.over("a")
    told.look(30)
    assert Busy.asked == 1
    told.look(8 * 30)
    assert sink.heard == ["initialize", "a"]
    assert [event for event in told.events if isinstance(event, SinkFailed)] == []


def test_what_a_sink_alone_refuses_keeps_no_other_back_and_is_given_up_alone():
    sink = Recording(["a"])
    told = Told(sink=sink)
    told.over("a", "b")
    told.look(3)
    assert sink.heard == ["initialize", "b"]
    for number in range(5):
        told.happen(Noticed(at=0.0, key=str(number), message="m"))  # says nothing of results
        told.look(30)
    for name in ("c", "d", "e", "f"):
        told.over(name)
        told.look(30)
    assert "a" not in sink.heard
    sink.refuses.clear()
    told.look(200, ending=True)
    assert "a" not in sink.heard
    assert sink.heard[-1] == "finalize"
    (left,) = leftovers(["sink"], PLAN, told.state)
    assert str(left) == "sink sink has not taken 1 of 6 results: ConnectionError: no a"


def test_a_sink_that_is_down_at_the_end_has_its_time_and_then_keeps_no_session_from_its_end():
    told = Told(drain_s=30.0, sink=Recording(["a"]))
    told.over("a")
    told.look(29, ending=True)
    assert not told.may_end()
    told.look(3, ending=True)
    assert told.may_end()
    (left,) = leftovers(["sink"], PLAN, told.state)
    assert (left.results, left.of, left.message) == (1, 1, "ConnectionError: no a")
    told.look()  # more entries were asked for meanwhile
    told.look(ending=True)
    assert not told.may_end()


def test_a_sink_that_cannot_begin_hears_nothing_else():
    sink = Recording(["initialize"])
    told = Told(sink=sink)
    told.over("a")
    told.look(10)
    assert sink.heard == []


def test_attempts_that_ended_badly_are_told_with_what_followed():
    sink = Recording()
    told = Told(sink=sink)
    told.happen(
        Selected(at=0.0, entries=("a",)),
        Intended(at=0.0, token="t1", entries=("a",), attempt=1, timeout_s=1.0),
        Ended(at=1.0, entry="a", attempt=1, mode="oom", reason="killed by the kernel"),
    )
    told.look()
    assert sink.heard == []  # nothing is decided yet
    told.happen(Decided(at=1.0, entry="a", attempt=1, restart=True, reason="1 of 2", policy="more_memory"))
    told.look()
    told.happen(
        Intended(at=2.0, token="t2", entries=("a",), attempt=2, timeout_s=1.0),
        Ended(at=3.0, entry="a", attempt=2, mode="crash", reason="exit code 1"),
        Decided(at=3.0, entry="a", attempt=2, restart=False, reason="2 of 2 are spent"),
    )
    told.look(2)
    assert sink.heard == [
        "initialize",
        "restart entry a attempt 1 ended: oom (killed by the kernel); restart by policy more_memory: 1 of 2",
        "a",
        "failure entry a attempt 2 ended: crash (exit code 1); 2 of 2 are spent",
    ]
    assert [notice.key for notice in ends(told.state.entries["a"], "")] == ["end:a:1", "end:a:2"]


def test_entries_that_come_after_the_end_end_the_session_anew():
    sink = Recording()
    told = Told(sink=sink)
    told.over("a")
    told.look(ending=True)
    told.over("b")
    told.look()
    told.look(ending=True)
    assert sink.heard == ["initialize", "a", "finalize", "b", "finalize"]


def test_what_was_delivered_before_a_crash_is_told_by_the_journal():
    sink = Recording()
    told = Told(sink=sink)
    told.over("a", "b")
    told.happen(Delivered(at=1.0, sink="sink", entry="a"))
    told.look()
    assert sink.heard == ["initialize", "b"]


def test_a_notice_that_was_given_up_is_known_and_sent_after_the_end():
    sink = Recording(["notice entry a bad words"])
    told = Told(sink=sink)
    told.happen(Noticed(at=1.0, entry="a", attempt=1, key="k1", message="bad words"))
    for number in range(8):  # others go through meanwhile
        told.happen(Noticed(at=1.0, entry="a", attempt=1, key=f"o{number}", message=f"fine {number}"))
        told.look(pause_s=70)
    told.over("a")
    told.look(3, pause_s=70, ending=True)
    assert "finalize" in sink.heard and told.may_end()
    (left,) = leftovers(["sink"], PLAN, told.state)
    assert str(left) == "sink sink has not taken 1 notices: ConnectionError: no notice entry a bad words"
    sink.refuses.clear()
    told.another_monitor()  # as `deliver` does
    told.look(3, ending=True)
    assert sink.heard[-2:] == ["notice entry a bad words", "finalize"]
    assert leftovers(["sink"], PLAN, told.state) == []


def test_a_session_that_ended_before_notices_were_told_is_left_in_peace():
    told = Told(sink=Recording())
    told.over("a", mode="crash")
    told.happen(Delivered(at=1.0, sink="sink", entry="a"), Delivered(at=1.0, sink="sink"))
    assert leftovers(["sink"], PLAN, told.state) == []


class Asking(Recording):
    """Asks for time, always."""

    def __init__(self, after_s: float) -> None:
        super().__init__()
        self.after_s, self.asked = after_s, 0

    def process_result(self, result):
        self.asked += 1
        raise TryAgain("the service takes no more", self.after_s)


def test_a_sink_that_asks_for_no_time_is_asked_once_a_look():
    sink = Asking(0.0)
    told = Told(sink=sink)
    told.over("a")
    told.look(3)
    assert sink.asked == 3


@pytest.mark.parametrize(("after_s", "looks"), [(3600.0, 1), (2.0, 20)])
def test_whoever_waits_for_an_answer_only_gives_up_a_sink_that_asks_for_time_again_and_again(after_s, looks):
    told = Told(sink=Asking(after_s))
    told.over("a")
    told.look(looks, ending=True)
    assert told.delivery.is_tried(told.state, ending=True)


def test_whoever_asks_for_time_until_the_end_is_said_to():
    told = Told(sink=Asking(3600.0))
    told.over("a")
    told.look(70, ending=True)
    assert told.may_end()
    (left,) = leftovers(["sink"], PLAN, told.state)
    assert left.message == "the service takes no more"
    assert told.delivery.untold(left).message == ""  # the log has it
