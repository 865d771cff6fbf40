"""Put ended jobs back into the queue: intent on disk first, then scontrol requeue, then what it said on disk."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

from oellm_bench.clock import Clock
from oellm_bench.core.events import Requeued, RequeueFailed
from oellm_bench.core.job import JobId, Snapshot
from oellm_bench.errors import SchedulerError, SchedulerUnavailable, SubmissionUnclear
from oellm_bench.monitoring.reconcile import Matched, is_stale
from oellm_bench.schedulers.base import Scheduler
from oellm_bench.state.model import EntryState
from oellm_bench.state.store import SessionStore

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Requeuer:
    """Carries out the decisions to requeue; a job that is not taken back is followed by a new one."""

    store: SessionStore
    scheduler: Scheduler
    clock: Clock

    def requeue_due(self) -> None:
        """Put back what is due, one under each lock. A scheduler that does not answer ends the round."""
        going_on = True
        while going_on:
            with self.store.locked():
                entry = next(self._due(), None)
                going_on = entry is not None and self._requeue(entry)

    def _requeue(self, entry: EntryState) -> bool:
        """Put one job back, and tell whether more would have a chance."""
        attempt = entry.attempts[-1]
        self.store.append(Requeued(at=self.clock.now(), entry=entry.id, attempt=attempt.number))
        try:
            self.scheduler.requeue(JobId.parse(attempt.job_id))
        except SubmissionUnclear as err:
            _log.warning("%s: %s (whether it is back in the queue will show)", attempt.token, err)
            return False
        except SchedulerError as err:
            unsent = isinstance(err, SchedulerUnavailable)
            self.store.append(self._failed(entry, str(err), unsent=unsent))
            return not unsent
        return True

    def give_up_lost(self, matched: Matched, snapshot: Snapshot) -> None:
        """Have jobs followed by new ones that, as every source says, never went back into the queue."""
        if not (snapshot.queue_answered and snapshot.accounting_answered):
            return
        with self.store.locked():
            for entry in self.store.state.entries.values():
                last = entry.last
                if last is None or last.requeued_after is None or last.is_over:
                    continue
                row = matched.rows.get((last.token, last.task))
                waited_s = snapshot.taken_at - last.submitted_at
                unseen = last.started_at is None and (row is None or is_stale(row, last))
                if unseen and waited_s >= self.scheduler.lookup_grace_s:
                    self.store.append(self._failed(entry, "the scheduler did not take it back", unsent=False))

    def _due(self) -> Iterator[EntryState]:
        now = self.clock.now()
        for entry in self.store.state.entries.values():
            if entry.restart_due and entry.requeue_due and entry.not_before <= now:
                yield entry

    def _failed(self, entry: EntryState, message: str, *, unsent: bool) -> RequeueFailed:
        attempt = entry.attempts[-1]
        follows = "it is tried again" if unsent else "a new job follows"
        _log.warning("%s is not requeued: %s (%s)", attempt.token, message, follows)
        return RequeueFailed(
            at=self.clock.now(), entry=entry.id, attempt=attempt.number, message=message, unsent=unsent
        )
