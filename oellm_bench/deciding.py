"""What follows the end of an attempt, or of what an entry waits for: pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from oellm_bench.core.events import Decided, GivenUp
from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.core.result import ErrorMode
from oellm_bench.ordering import failed_predecessor, was_superseded
from oellm_bench.restart.base import Decision, Failure
from oellm_bench.restart.settings import decide
from oellm_bench.state.model import AttemptState, EntryState, SessionState
from oellm_bench.watch import WatchSettings


def decisions(
    plan: Plan, state: SessionState, settings: Sequence[WatchSettings], now: float
) -> Iterator[Decided | GivenUp]:
    """Yield a decision for each attempt that has ended without one, and give up what can never start."""
    for entry in state.entries.values():
        if entry.over or (entry.cancelled and entry.last is None):
            continue
        planned = plan.by_id[entry.id]
        failed = failed_predecessor(planned, state) if planned.after else None
        attempt = entry.last
        if failed is not None and (entry.is_fresh or entry.restart_due):
            reason = f"{plan.by_id[failed].name}, which it waits for, did not succeed"
            yield GivenUp(at=now, entry=entry.id, mode=ErrorMode.DEPENDENCY_FAILED.value, reason=reason)
        elif attempt is not None and attempt.mode is not None and not entry.restart_due:
            decision = _decision(planned, entry, attempt, state, settings[planned.watch])
            if decision is not None:
                yield Decided(
                    at=now,
                    entry=entry.id,
                    attempt=attempt.number,
                    restart=decision.restart,
                    reason=decision.reason,
                    policy=decision.policy,
                    extra_time_s=decision.extra_time_s,
                )


def _decision(
    planned: PlannedEntry, entry: EntryState, attempt: AttemptState, state: SessionState, settings: WatchSettings
) -> Decision | None:
    """Return what follows an attempt's end, None while that hangs on what it waited for."""
    assert attempt.mode is not None
    if attempt.mode is ErrorMode.SUCCESS:
        return Decision(restart=False, reason="succeeded", policy="")
    if entry.cancelled:
        return Decision(restart=False, reason=attempt.cancel_reason or "cancelled", policy="")
    if attempt.mode is ErrorMode.DEPENDENCY_FAILED and planned.after:
        if failed_predecessor(planned, state) is not None:
            return Decision(restart=False, reason=attempt.reason, policy="")
        superseded = was_superseded(planned, attempt.after, state)
        if superseded is None:
            return None
        reason = "what it waits for is tried again" if superseded else attempt.reason
        return Decision(restart=superseded, reason=reason, policy="")
    return decide(_failure(entry, attempt), settings.policies, max_restarts=settings.restart.max_restarts)


def _failure(entry: EntryState, attempt: AttemptState) -> Failure:
    """Return the facts; an attempt that only waited in vain for others was no restart."""
    assert attempt.mode is not None
    restarts = sum(earlier.mode is not ErrorMode.DEPENDENCY_FAILED for earlier in entry.attempts[:-1])
    told = (str(signal["metadata"].get("subsystem", "")) for signal in attempt.signals)
    return Failure(
        mode=attempt.mode,
        reason=attempt.reason,
        attempt=attempt.number,
        restarts=restarts,
        restarts_for_mode=entry.restarts_for(attempt.mode),
        signals=frozenset(filter(None, (attempt.cause, *(signal["name"] for signal in attempt.signals)))),
        subsystems=frozenset(filter(None, (attempt.subsystem, *told))),
    )
