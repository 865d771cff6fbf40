"""Tell a job why it is to be cancelled, and leave it the time to save where it is."""

from __future__ import annotations

from oellm_bench.core.capture import Capture
from oellm_bench.core.layout import AttemptLayout
from oellm_bench.errors import StateError
from oellm_bench.fileio import atomic_write_json, read_json
from oellm_bench.monitoring.heartbeat import read_heartbeat
from oellm_bench.state.model import AttemptState

_SAVING_S = 15.0  # beside two heartbeats: until the order is seen, and until the answer is
_LONGEST_S = 120.0  # a stalled job costs its nodes, however rarely its heart beats


def may_be_cancelled(attempt: AttemptState, layout: AttemptLayout, capture: Capture, now: float) -> bool:
    """Tell whether the scheduler may end the job now; one that stalls is told first, and saves its stacks.

    SLURM sends TERM to all processes of a job at once: the command would be gone before it could be looked at.
    """
    if attempt.cancel_by != "stall":
        return True
    told_at = _told_at(attempt, layout, now)
    beat = read_heartbeat(layout.heartbeat, attempt.number)
    if told_at is None or not beat or not (capture.enabled and capture.stacks):
        return True
    patience_s = min(_SAVING_S + 2 * capture.interval_s, _LONGEST_S)
    return bool(beat.get("stacks_saved")) or not abs(now - told_at) <= patience_s  # a time of NaN is no time to wait


def _told_at(attempt: AttemptState, layout: AttemptLayout, now: float) -> float | None:
    """Return since when the job is told, from now on where it was not; None where it cannot be told."""
    try:
        return float(read_json(layout.stop_order)["at"])
    except (StateError, TypeError, KeyError, ValueError, OverflowError):
        order = {"at": now, "by": attempt.cancel_by, "reason": attempt.cancel_reason}
    try:
        atomic_write_json(layout.stop_order, order)
    except OSError:
        return None
    return now
