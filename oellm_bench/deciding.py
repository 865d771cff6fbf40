"""What follows the end of an attempt, or of what an entry waits for: pure."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from oellm_bench.core.events import Decided, GivenUp, Noticed
from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.core.result import ErrorMode
from oellm_bench.history import brake, failure, node_failures
from oellm_bench.ordering import failed_for, failed_predecessor, was_superseded
from oellm_bench.restart.base import Decision
from oellm_bench.restart.nodes import bad_nodes
from oellm_bench.restart.settings import decide, restart_asked_for
from oellm_bench.state.model import AttemptState, EntryState, SessionState
from oellm_bench.watch import WatchSettings


def decisions(
    plan: Plan,
    state: SessionState,
    settings: Sequence[WatchSettings],
    now: float,
    cluster_nodes: int | None = None,
) -> Iterator[Decided | GivenUp | Noticed]:
    """Yield a decision for each attempt that has ended without one, and give up what can never start.

    That the brake has stopped a campaign is told once, and which entries a budget has ended. `cluster_nodes`: how many
    nodes there are, None where nobody says.
    """
    judge = _Judge(plan=plan, state=state, settings=settings, now=now, cluster_nodes=cluster_nodes)
    told = set(state.notices)
    for entry in state.entries.values():
        if entry.over or (entry.cancelled and entry.last is None):
            continue
        if entry.is_fresh or entry.restart_due:
            for event in judge.hopeless(entry):
                if not isinstance(event, Noticed):
                    yield event
                elif event.key not in told:
                    told.add(event.key)
                    yield event
        elif entry.attempts[-1].mode is not None:
            yield from judge.decided(entry)


@dataclass(frozen=True, kw_only=True)
class _Judge:
    """One look at a campaign; what holds for all entries is worked out once, and only if it is asked for."""

    plan: Plan
    state: SessionState
    settings: Sequence[WatchSettings]
    now: float
    cluster_nodes: int | None

    def hopeless(self, entry: EntryState) -> Iterator[GivenUp | Noticed]:
        """Yield why an entry that waits for its start will not have it, nothing where it may."""
        planned = self.plan.by_id[entry.id]
        if planned.after and failed_predecessor(planned, self.state) is not None:
            reason = failed_for(planned, (), self.plan, self.state)
            yield GivenUp(at=self.now, entry=entry.id, mode=ErrorMode.DEPENDENCY_FAILED.value, reason=reason)
            return
        reason = self._brakes[planned.watch]
        if reason:
            yield Noticed(at=self.now, key=f"brake/{planned.watch}", message=f"the brake is on: {reason}")
            yield GivenUp(at=self.now, entry=entry.id, mode=ErrorMode.CANCELLED.value, reason=reason)

    def decided(self, entry: EntryState) -> Iterator[Decided | Noticed]:
        """Yield what follows the end of an entry's last attempt, nothing while that hangs on what it waited for."""
        attempt = entry.attempts[-1]
        assert attempt.mode is not None
        decision = self._decision(self.plan.by_id[entry.id], entry, attempt)
        if decision is None:
            return
        if decision.spent:
            message = f"{attempt.mode.value}, and not restarted: {decision.reason}"
            key = f"{entry.id}/a{attempt.number}/spent"
            yield Noticed(at=self.now, key=key, entry=entry.id, attempt=attempt.number, message=message)
        yield Decided(
            at=self.now,
            entry=entry.id,
            attempt=attempt.number,
            restart=decision.restart,
            reason=decision.reason,
            policy=decision.policy,
            **vars(decision.change),
            not_before=self.now + decision.delay_s if decision.delay_s else 0.0,
            as_planned=decision.as_planned,
            requeue=decision.requeue,
        )

    def _decision(self, planned: PlannedEntry, entry: EntryState, attempt: AttemptState) -> Decision | None:
        if attempt.mode is ErrorMode.SUCCESS:
            return Decision(restart=False, reason="succeeded", policy="")
        if entry.cancelled:
            return Decision(restart=False, reason=attempt.cancel_reason or "cancelled", policy="")
        if attempt.mode is ErrorMode.DEPENDENCY_FAILED and planned.after:
            if failed_predecessor(planned, self.state) is not None:
                return Decision(restart=False, reason=attempt.reason, policy="")
            superseded = was_superseded(planned, attempt.after, self.state)
            if superseded is None:
                return None
            reason = "what it waits for is tried again" if superseded else attempt.reason
            return Decision(restart=superseded, reason=reason, policy="")
        if attempt.mode is ErrorMode.SUBMIT_REJECTED and attempt.change.asks_for_more:
            # It was the policy that asked for too much, not the user.
            reason = f"sent again as planned, since the change was refused: {attempt.reason}"
            return Decision(restart=True, reason=reason, policy="", as_planned=True)
        settings = self.settings[planned.watch]
        facts = failure(planned, entry, self._avoided[planned.watch], settings.restart)
        if attempt.cancel_by == "restart":
            return restart_asked_for(facts, settings.restart)
        return decide(facts, settings.policies, settings.restart)

    @functools.cached_property
    def _avoided(self) -> list[tuple[str, ...]]:
        """The nodes to stay away from, by the index of the settings."""
        failures = list(node_failures(self.state))
        known = self.cluster_nodes
        return [bad_nodes(failures, settings.restart.bad_nodes, self.now, known) for settings in self.settings]

    @functools.cached_property
    def _brakes(self) -> list[str]:
        """Why no more entries are started, by the index of the settings."""
        expected = {entry.id for entry in self.plan.entries if entry.expected_failure}
        return [brake(self.state, settings.restart, expected) for settings in self.settings]
