"""A stall is cancelled, whatever the job's script has left in the way of the order to stop."""

from __future__ import annotations

import json

import pytest

from oellm_bench.core.capture import Capture
from oellm_bench.core.layout import AttemptLayout
from oellm_bench.monitoring.stop_order import may_be_cancelled
from oellm_bench.state.model import AttemptState


@pytest.mark.parametrize("at", ["NaN", '"nan"', "Infinity", "1" + "0" * 400, "-1e999", "[]", "null"])
def test_an_order_of_no_time_keeps_no_job_from_its_end(tmp_path, at):
    layout = AttemptLayout(tmp_path)
    layout.heartbeat.write_text(json.dumps({"attempt": 1, "at": 100.0}))
    layout.stop_order.write_text(f'{{"at": {at}}}')
    attempt = AttemptState(number=1, token="t", task=None, timeout_s=60, intended_at=0, cancel_by="stall")
    may_be_cancelled(attempt, layout, Capture(), 100.0)
    assert may_be_cancelled(attempt, layout, Capture(), 1000.0)


def test_a_long_interval_keeps_no_stalled_job_running(tmp_path):
    layout = AttemptLayout(tmp_path)
    layout.heartbeat.write_text(json.dumps({"attempt": 1, "at": 100.0}))
    attempt = AttemptState(number=1, token="t", task=None, timeout_s=60, intended_at=0, cancel_by="stall")
    capture = Capture(interval_s=86400.0)
    assert not may_be_cancelled(attempt, layout, capture, 100.0)
    assert may_be_cancelled(attempt, layout, capture, 400.0)
