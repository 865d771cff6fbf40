"""A job that was to go back into the queue, and did not: found by the soak, told apart from one that did."""

from __future__ import annotations

import pytest

from oellm_bench.core.events import Ended, Intended, Observed, Requeued, Selected, Submitted
from oellm_bench.core.job import JobId, JobState, JobStatus, Snapshot
from oellm_bench.monitoring.reconcile import is_stale, match, observations
from oellm_bench.state.fold import apply
from oellm_bench.state.model import SessionState

TOKEN = "ob-00000001-e-a1"
FACTS = {"entry": "e", "attempt": 1}


def requeued() -> SessionState:
    """Return what is known of a job that ran from 10 to 20 and that was to be put back at 30."""
    state = SessionState()
    for event in (
        Selected(at=0, entries=("e",)),
        Intended(at=0, token=TOKEN, entries=("e",), attempt=1, timeout_s=60),
        Submitted(at=0, token=TOKEN, job_id="7"),
        Observed(at=20, **FACTS, state="FAILED", job_id="7", started_at=10.0, ended_at=20.0),
        Ended(at=20, **FACTS, mode="crash", reason=""),
        Requeued(at=30, **FACTS),
    ):
        apply(event, state)
    return state


@pytest.mark.parametrize(
    ("state", "started_at", "stale"),
    [
        (JobState.FAILED, 10.0, True),
        (JobState.RUNNING, 10.0, True),  # accounting that is behind: the queue has forgotten the end already
        (JobState.PENDING, None, False),
        (JobState.RUNNING, 50.0, False),
        (JobState.FAILED, 50.0, False),
    ],
)
def test_only_what_began_anew_is_a_new_run(state, started_at, stale):
    known = requeued()
    row = JobStatus(job_id=JobId(7), name=TOKEN, state=state, started_at=started_at)
    snapshot = Snapshot(taken_at=60.0, jobs=(row,), queue_answered=True, accounting_answered=True)
    found = list(observations(known, match(snapshot, known), snapshot))
    assert is_stale(row, known.entries["e"].last) is stale
    assert [event.started_at for event in found] == ([] if stale or started_at is None else [started_at])
