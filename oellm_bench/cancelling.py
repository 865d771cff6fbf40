"""Tell the scheduler of the cancels in the journal, and of jobs that nobody waits for any more."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

from oellm_bench.clock import Clock
from oellm_bench.core.job import JobId, Snapshot
from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.plan import Plan
from oellm_bench.errors import SchedulerUnavailable
from oellm_bench.monitoring.reconcile import Matched, cancellable, stragglers
from oellm_bench.monitoring.stop_order import may_be_cancelled
from oellm_bench.schedulers.base import Scheduler
from oellm_bench.state.model import AttemptState, EntryState
from oellm_bench.state.store import SessionStore

_log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Canceller:
    """The cancels of one session. A scheduler that does not answer is told again in the next cycle."""

    plan: Plan
    layout: SessionLayout
    store: SessionStore
    scheduler: Scheduler
    clock: Clock
    _ended_late: set[JobId] = field(default_factory=set)

    def cancel(self, live: Iterable[tuple[EntryState, AttemptState]], matched: Matched, snapshot: Snapshot) -> None:
        """Cancel what is to be, what got lost on the way before too, second jobs of an attempt, stragglers."""
        wanted = [attempt for entry, attempt in live if attempt.cancel_by and self._is_ready(entry, attempt)]
        jobs = cancellable(matched, wanted)
        for duplicate in matched.duplicates:
            _log.warning("job %s runs an attempt that another job runs too; it is cancelled", duplicate)
        # Once each: accounting alone may go on calling a job alive that is gone.
        late = set(stragglers(snapshot, self.store.state)) - self._ended_late - set(matched.duplicates)
        for job in late:
            _log.warning("job %s runs an attempt that is over; it is cancelled", job)
        if not (jobs or matched.duplicates or late):
            return
        try:
            self.scheduler.cancel([*jobs, *matched.duplicates, *late])
        except SchedulerUnavailable as err:
            _log.warning("cancel will be tried again: %s", err)
        else:
            self._ended_late |= late

    def _is_ready(self, entry: EntryState, attempt: AttemptState) -> bool:
        planned = self.plan.by_id[entry.id]
        files = self.layout.entry(planned.name).attempt(attempt.number)
        return may_be_cancelled(attempt, files, planned.capture, self.clock.now())
