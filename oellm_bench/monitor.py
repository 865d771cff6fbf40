"""The monitor: observe, reconcile, classify, decide, act, journal; one `step` is one cycle."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from oellm_bench.actions.commands import ActionRunner
from oellm_bench.cancelling import Canceller
from oellm_bench.clock import Clock
from oellm_bench.core.events import Ended, Event, Noticed, SessionFinished
from oellm_bench.core.expectation import is_as_expected
from oellm_bench.core.job import Snapshot
from oellm_bench.core.layout import AttemptLayout, EntryLayout
from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.core.result import EntryResult
from oellm_bench.core.token import session_prefix
from oellm_bench.deciding import decisions
from oellm_bench.delivery import SinkDelivery
from oellm_bench.errors import SchedulerUnavailable
from oellm_bench.following import LogFollower
from oellm_bench.gates import Gates
from oellm_bench.judging import verdict
from oellm_bench.monitoring.heartbeat import iteration, read_heartbeat
from oellm_bench.monitoring.pending import waits_in_vain
from oellm_bench.monitoring.reconcile import match, observations
from oellm_bench.ordering import why_ended
from oellm_bench.requeueing import Requeuer
from oellm_bench.restart.nodes import speaks_of_nodes
from oellm_bench.schedulers.base import Scheduler
from oellm_bench.session import Session
from oellm_bench.stalls import StallWatch
from oellm_bench.state.fold import apply
from oellm_bench.state.model import AttemptState, EntryState
from oellm_bench.state.store import SessionStore
from oellm_bench.submission import Submitter
from oellm_bench.view import final_result, session_view
from oellm_bench.watch import WatchSettings

_log = logging.getLogger(__name__)
_MOST_PACES = 3  # between two looks; more of them, and this process was asleep, or its machine


@dataclass(frozen=True, kw_only=True)
class Cycle:
    """What one cycle found: whether all is over, and whether the scheduler answered at all.

    `delivering`: only sinks have yet to answer, so there is nothing else to look at.
    """

    finished: bool
    answered: bool
    delivering: bool = False


@dataclass(kw_only=True)
class Monitor:
    """Watches one session. Create with `Monitor(...)`, hold a Lease, call `step()` until it is finished."""

    session: Session
    plan: Plan
    store: SessionStore
    scheduler: Scheduler
    submitter: Submitter
    requeuer: Requeuer
    canceller: Canceller
    settings: tuple[WatchSettings, ...]
    gates: Gates
    actions: ActionRunner
    delivery: SinkDelivery
    clock: Clock
    follower: LogFollower
    stalls: StallWatch
    pace_s: float = math.inf  # between two looks, as far as that is known
    _looked_at: float | None = None
    _only_looks: bool = False
    _partition_nodes: int | None = None

    def step(self) -> Cycle:
        """Run one cycle. A scheduler that does not answer changes no state.

        Raises StateError where the journal cannot be written: then nothing has been done either.
        """
        slept_s = 0.0 if self._looked_at is None else self.clock.now() - self._looked_at
        self.store.refresh()
        snapshot = self.scheduler.snapshot(session_prefix(self.session.session8), self.session.looked_up_since)
        if not snapshot.queue_answered:
            self.stalls.begin_anew(snapshot.taken_at)
        overslept = not 0 <= slept_s <= _MOST_PACES * self.pace_s
        self._only_looks = overslept and not self._only_looks  # never twice: somebody has to act
        cycle = self._look_only(snapshot, slept_s) if self._only_looks else self._act(snapshot)
        self._looked_at = self.clock.now()  # from here on: a look that takes long is no sleep
        return cycle

    def _act(self, snapshot: Snapshot) -> Cycle:
        """Do all that a look leads to."""
        self.submitter.adopt(snapshot)
        self.submitter.resend_lost(snapshot)
        matched = self.submitter.take_in(snapshot)
        self.requeuer.give_up_lost(matched, snapshot)
        self._commit(lambda: self._log_events(snapshot))
        if snapshot.queue_answered:  # who cannot see what runs cannot tell what hangs
            self._commit(lambda: self._hopeless(snapshot))
        self.canceller.cancel(self._live(), matched, snapshot)
        self._commit(lambda: self._endings(snapshot))
        self._learn_of_nodes()
        if self._commit(self._decisions):
            self._commit(self._decisions)  # what was decided may be what sets the brake
        self._commit(lambda: self.gates.step(self.store.state, self.clock.now()))
        if snapshot.queue_answered:  # who does not say what there is takes nothing either
            self.submitter.submit_due()
            self.requeuer.requeue_due()
        self._commit(lambda: self.actions.step(self.store.state, self.clock.now()))
        self.deliver()
        return self._close(snapshot)

    def _look_only(self, snapshot: Snapshot, slept_s: float) -> Cycle:
        """Take in what there is to be seen, and leave what to do about it to the next cycle.

        What slept for an hour, or had its clock set, knows an old world, and file systems and the scheduler may wake
        after it.
        """
        _log.warning("the last look was %.0f s ago: this one changes nothing, the next one acts", slept_s)
        self.stalls.begin_anew(snapshot.taken_at)
        self.submitter.take_in(snapshot)
        self._commit(lambda: self._log_events(snapshot))
        return self._close(snapshot)

    def look_at_gates(self) -> None:
        """Look at the conditions only, and submit what they let go: no call of the scheduler's queries."""
        self._commit(lambda: self.gates.step(self.store.state, self.clock.now()))
        self.submitter.submit_due()

    def deliver(self) -> None:
        """Hand over to the sinks what they have not had yet, and take in their answers."""
        # Outside of the lock: a sink that writes files may take its time, and a cancel must not wait for it.
        delivered = self.delivery.deliver(self.store.state, self.clock.now(), ending=self._all_over())
        self._commit(lambda: delivered)

    def finish(self, cycle: Cycle) -> Cycle:
        """Go on where only the sinks are waited for: no call of the scheduler."""
        self.store.refresh()
        self.deliver()
        over = self._all_over()
        done = over and self._ended()
        return Cycle(finished=done, answered=cycle.answered, delivering=over and not done)

    def close(self) -> None:
        """End what was begun only for this monitor."""
        self.gates.close()
        self.scheduler.close()
        self.delivery.close()

    def rehearse(self) -> list[Event]:
        """Return what the next cycle would journal about signals and ends; in memory only, nothing is done.

        The monitor must not be used for anything else afterwards.
        """
        snapshot = self.scheduler.snapshot(session_prefix(self.session.session8), self.session.looked_up_since)
        matched = match(snapshot, self.store.state)
        stages: tuple[Callable[[], Iterable[Event]], ...] = (
            lambda: observations(self.store.state, matched, snapshot),
            lambda: self._log_events(snapshot),
            lambda: self._hopeless(snapshot),
            lambda: self._endings(snapshot),
            self._decisions,
        )
        found: list[Event] = []
        for stage in stages:
            for event in list(stage()):
                apply(event, self.store.state)
                found.append(event)
        return found

    def _commit(self, stage: Callable[[], Iterable[Event]]) -> bool:
        """Work a stage out and journal it in one go, so that nobody else's event can come between.

        Returns whether there was anything.
        """
        with self.store.locked():
            events = list(stage())
            self.store.append(*events)
        for event in events:
            if isinstance(event, Noticed):
                _log.warning("%s%s", f"{self._planned(event.entry).name}: " if event.entry else "", event.message)
        return bool(events)

    def _live(self) -> list[tuple[EntryState, AttemptState]]:
        """Return the attempts that are not over; only the newest attempt of an entry can be."""
        return [
            (entry, entry.attempts[-1])
            for entry in self.store.state.entries.values()
            if entry.attempts and not entry.attempts[-1].is_over
        ]

    def _log_events(self, snapshot: Snapshot) -> Iterable[Event]:
        return self.follower.events(self._live(), snapshot.taken_at)

    def _hopeless(self, snapshot: Snapshot) -> Iterable[Event]:
        """Yield what is to be known of, or to be cancelled, because it runs in vain or waits for what never comes."""
        told = self.store.state.notices
        live = self._live()
        for entry, attempt in live:
            yield from waits_in_vain(entry, attempt, self._settings(entry).monitoring, told, snapshot.taken_at)
        yield from self.stalls.events(live, snapshot.taken_at)

    def _endings(self, snapshot: Snapshot) -> Iterable[Event]:
        for entry, attempt in self._live():
            if not attempt.may_be_over:
                continue
            grace = self._settings(entry).monitoring.missing_grace_s
            found = verdict(
                attempt,
                self._entry_layout(entry),
                self._scheduler_log(entry, attempt),
                self._settings(entry).signatures,
                now=snapshot.taken_at,
                missing_grace_s=grace,
            )
            if found is not None:
                yield Ended(
                    at=snapshot.taken_at,
                    entry=entry.id,
                    attempt=attempt.number,
                    mode=found.mode.value,
                    reason=why_ended(found, self._planned(entry.id), attempt.after, self.plan, self.store.state),
                    returncode=found.returncode,
                    cause=found.cause.name if found.cause else "",
                    subsystem=found.cause.subsystem if found.cause else "",
                    advice=found.cause.advice if found.cause else "",
                    iteration=iteration(read_heartbeat(self._layout_of(entry, attempt).heartbeat, attempt.number)),
                )

    def _decisions(self) -> Iterable[Event]:
        return decisions(self.plan, self.store.state, self.settings, self.clock.now(), self._partition_nodes or None)

    def _learn_of_nodes(self) -> None:
        """Ask once how large the largest partition is, when the first failure speaks against a node."""
        undecided = (e.last for e in self.store.state.entries.values() if not (e.over or e.restart_due))
        if self._partition_nodes is not None or not any(last and speaks_of_nodes(last.mode) for last in undecided):
            return
        try:
            sizes = [partition.total_nodes for partition in self.scheduler.partitions()]
        except SchedulerUnavailable as err:
            _log.warning("how many nodes there are is not known: %s", err)
            return
        self._partition_nodes = max(sizes, default=0)

    def _finished_results(self) -> Iterable[EntryResult]:
        for entry in self.store.state.entries.values():
            if entry.over:
                yield self._final(entry)

    def _final(self, entry: EntryState) -> EntryResult:
        return final_result(self._planned(entry.id), entry, self.session.layout)

    def _all_over(self) -> bool:
        state = self.store.state
        over = bool(state.entries) and all(entry.over for entry in state.entries.values())
        return over and self.actions.idle(state)

    def _close(self, snapshot: Snapshot) -> Cycle:
        """Write the snapshot, or end the session."""
        over = self._all_over()
        done = over and self._ended()
        if not done:
            self.store.write_snapshot(session_view(self.session, self.plan, self.store.state, snapshot.taken_at))
        answered = snapshot.queue_answered or snapshot.accounting_answered
        return Cycle(finished=done, answered=answered, delivering=over and not done)

    def _ended(self) -> bool:
        """End the session where everything is delivered, as far as it can be, and tell whether it has ended."""
        if not self.delivery.may_end(self.store.state, self.clock.now()):
            return False
        results = list(self._finished_results())
        passed = sum(is_as_expected(self._planned(r.id).expected_failure, r.error_mode) for r in results)
        finished = SessionFinished(at=self.clock.now(), passed=passed, failed=len(results) - passed)
        self._commit(lambda: [finished] if self._all_over() else [])  # more may have been selected just now
        self.store.archive()
        return self.store.state.finished

    def _scheduler_log(self, entry: EntryState, attempt: AttemptState) -> Path:
        return self.session.layout.scheduler_log(self._planned(entry.id).name, attempt.number, attempt.job_id)

    def _settings(self, entry: EntryState) -> WatchSettings:
        return self.settings[self._planned(entry.id).watch]

    def _planned(self, entry_id: str) -> PlannedEntry:
        return self.plan.by_id[entry_id]

    def _layout_of(self, entry: EntryState, attempt: AttemptState) -> AttemptLayout:
        return self._entry_layout(entry).attempt(attempt.number)

    def _entry_layout(self, entry: EntryState) -> EntryLayout:
        return self.session.layout.entry(self._planned(entry.id).name)
