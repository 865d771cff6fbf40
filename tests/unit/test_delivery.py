"""Results to sinks: each again until taken, one sink's trouble its own."""

from __future__ import annotations

from oellm_bench.core.result import EntryResult
from oellm_bench.delivery import SinkDelivery
from oellm_bench.sinks.base import Sink
from oellm_bench.state.fold import apply
from oellm_bench.state.model import EntryState, SessionState

RESULT = EntryResult(name="e", id="id", attempt=1, success=True, error_mode="success")


class Recording(Sink):
    """Keeps what it is told; fails as often as the test says."""

    def __init__(self, *, failing: str = "", times: int = 0) -> None:
        self.heard: list[str] = []
        self._failing, self._times = failing, times

    def _hear(self, what: str) -> None:
        if what == self._failing and self._times:
            self._times -= 1
            raise ConnectionError("nobody there")
        self.heard.append(what)

    def initialize(self, session_name, env_data):
        self._hear("initialize")

    def process_result(self, result):
        self._hear("result")

    def finalize(self):
        self._hear("finalize")


def delivered(delivery: SinkDelivery, state: SessionState) -> bool:
    for event in list(delivery.deliver([RESULT], state, 1.0)):
        apply(event, state)
    return delivery.is_complete(state)


def over() -> SessionState:
    return SessionState(entries={"id": EntryState(id="id", over=True)})


def test_a_result_is_handed_over_again_until_it_is_taken_and_once_to_the_others():
    good, bad = Recording(), Recording(failing="result", times=2)
    delivery, state = SinkDelivery({"bad": bad, "good": good}, "s", {}), over()
    assert [delivered(delivery, state) for _ in range(3)] == [False, False, True]
    assert good.heard == bad.heard == ["initialize", "result"]
    assert delivery.failed == {}


def test_a_sink_that_keeps_failing_is_given_up_and_named():
    delivery, state = SinkDelivery({"bad": Recording(failing="result", times=99)}, "s", {}), over()
    assert [delivered(delivery, state) for _ in range(5)][-1]
    assert list(delivery.failed) == ["bad"]


def test_a_sink_that_cannot_end_the_session_is_named():
    good, bad = Recording(), Recording(failing="finalize", times=1)
    delivery, state = SinkDelivery({"bad": bad, "good": good}, "s", {}), over()
    delivered(delivery, state)
    assert [event.sink for event in delivery.close(2.0)] == ["good"]
    assert list(delivery.failed) == ["bad"]
