"""Submit what is due, exactly once: intent on disk first, then sbatch, then its answer on disk."""

from __future__ import annotations

import contextlib
import logging
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from oellm_bench.book import Book
from oellm_bench.clock import Clock
from oellm_bench.core.events import Ended, Event, Intended, SubmissionFailed, Submitted
from oellm_bench.core.job import Snapshot
from oellm_bench.core.plan import checksum
from oellm_bench.core.result import ErrorMode
from oellm_bench.core.token import session_prefix
from oellm_bench.errors import QueueFull, SchedulerError, SchedulerUnavailable, SubmissionRejected
from oellm_bench.judging import exit_record
from oellm_bench.monitoring.reconcile import Matched, adoptions, match, observations
from oellm_bench.ordering import alive_until
from oellm_bench.schedulers.base import Limits, Scheduler
from oellm_bench.state.model import EntryState, SessionState
from oellm_bench.state.store import SessionStore

_log = logging.getLogger(__name__)
_AT_ONCE = 25  # submissions made under one lock
# How long after it was seen alive a job may be waited for: far below the time after which SLURM forgets ended jobs
# (MinJobAge, 300 s unless a site says otherwise). Seconds.
_KNOWN_S = 20.0
_BAD_DEPENDENCY = "Job dependency problem"
_CONSEQUENCES = {
    "unclear": "it is looked up before it is sent again",
    "refused": "it is not sent again",
    "unsent": "nothing was sent, it is due again later",
}


@dataclass(kw_only=True)
class Submitter:
    """Makes the submissions of one session."""

    book: Book
    store: SessionStore
    scheduler: Scheduler
    clock: Clock
    looked_up_since: float = 0.0  # jobs submitted before that (epoch seconds) are not this session's
    _answered_at: float = 0.0  # when the queue was last asked and answered, its answer taken into the state

    def submit_due(self) -> list[Submitted]:
        """Submit everything that is due and return what got an id.

        While the journal is locked no other process can take the same entries for due; it is let go now and then,
        so that a cancel need not wait for thousands of submissions. A scheduler that does not answer, or has no
        place, ends the round; what was not sent comes later.
        """
        submitted: list[Submitted] = []
        going_on = True
        while going_on:
            with self.store.locked():
                # What has been submitted may make others due that wait for it.
                due = self._due()
                stale = bool(due) and self._knows_until(due[0]) < self.clock.now()
                if not stale:
                    going_on = bool(due) and self._submit(due[:_AT_ONCE], submitted)
            if stale:
                self._look()
                going_on = self._knows_until(due[0]) >= self.clock.now()
        return submitted

    def _knows_until(self, intended: Intended) -> float:
        """Return until when it is known that the jobs a submission waits for are alive (epoch seconds)."""
        if not intended.after:
            return math.inf
        entry = self.book.plan.by_id[intended.entries[0]]
        return alive_until(entry, self.store.state, self._answered_at) + _KNOWN_S

    def _look(self) -> None:
        """Ask the scheduler again in the middle of a long round."""
        self.take_in(self._snapshot(insist=False))

    def _snapshot(self, *, insist: bool) -> Snapshot:
        return self.scheduler.snapshot(session_prefix(self.book.session8), self.looked_up_since, insist=insist)

    def take_in(self, snapshot: Snapshot) -> Matched:
        """Journal what a snapshot says new, and return it by attempt."""
        with self.store.locked():
            matched = match(snapshot, self.store.state)
            self.store.append(*observations(self.store.state, matched, snapshot))
        if snapshot.queue_answered:
            self._answered_at = max(self._answered_at, snapshot.taken_at)
        return matched

    def _submit(self, batch: Sequence[Intended], submitted: list[Submitted]) -> bool:
        """Make submissions, add those with an id to `submitted`, and tell whether more would have a chance."""
        pending: list[Event] = []
        for intended in batch:
            if self._knows_until(intended) < self.clock.now():
                break  # the next round looks first
            self.store.append(*pending, intended)
            answer = self._send(intended)
            pending = [answer]
            if isinstance(answer, Submitted):
                submitted.append(answer)
            elif answer.outcome != "refused":
                self.store.append(answer)
                return False  # whatever ails the scheduler, more submissions do not make it better
        self.store.append(*pending)
        return True

    def _due(self) -> list[Intended]:
        """Return what is due, in pieces the cluster takes; nothing while it cannot be asked for its limits."""
        state, entries = self.store.state, self.book.plan.by_id
        has_arrays = any(e.is_fresh and entries[e.id].task is not None for e in state.entries.values())
        try:
            limits = self.scheduler.limits() if has_arrays else Limits()
        except SchedulerUnavailable as err:
            _log.warning("nothing is sent for now: %s", err)
            return []
        return self.book.due(state, self.clock.now(), limits)

    def recover(self) -> None:
        """Bring the state up to date where what is to be submitted hangs on what an earlier process has left.

        That is so for submissions without an answer, and for jobs that further entries wait for.
        """
        state = self.store.state
        waited_for = {other for entry in self.book.plan.entries for other in entry.after}
        alive = any(i in waited_for and e.last and not e.last.is_over for i, e in state.entries.items())
        if not alive and not any(_unanswered(state)):
            return
        snapshot = self._snapshot(insist=True)
        self.adopt(snapshot)
        self.take_in(snapshot)
        self.resend_lost(snapshot)

    def adopt(self, snapshot: Snapshot) -> None:
        """Take note of jobs whose submission never got its answer and that are there all the same."""
        with self.store.locked():
            if not any(_unanswered(self.store.state)):
                return
            matched = match(snapshot, self.store.state)
            self.store.append(*adoptions(self.store.state, matched, snapshot.taken_at))
            self.store.append(*self._witnessed(snapshot.taken_at))

    def resend_lost(self, snapshot: Snapshot) -> list[Submitted]:
        """Send again what was intended and, as every source now says, never arrived.

        The scheduler's grace time counts from when the submission is known to be over: from its unclear answer,
        or from when its journal lock was found free, which means that the submitter has died. An answer of the
        scheduler that is older than that proves nothing.
        """
        submitted: list[Submitted] = []
        with self.store.locked():
            for intended in list(_unanswered(self.store.state)):
                entries = self.store.state.of_token(intended.token)
                since = max((a.unclear_since for _, a in entries if a.unclear_since is not None), default=None)
                if since is None:
                    message = "its submitter died before it had an answer"
                    self.store.append(self._failed(intended, "unclear", message))
                elif not (snapshot.queue_answered and snapshot.accounting_answered):
                    continue
                elif snapshot.taken_at - since >= self.scheduler.lookup_grace_s:
                    submitted += self._resend(intended, [entry for entry, _ in entries])
        return submitted

    def _resend(self, intended: Intended, entries: Sequence[EntryState]) -> list[Submitted]:
        """Send once more, unless nobody wants it any more."""
        now = self.clock.now()
        if all(entry.cancelled for entry in entries):
            mode, reason = ErrorMode.CANCELLED.value, "cancelled by the user, and never submitted"
            self.store.append(
                *(Ended(at=now, entry=e.id, attempt=intended.attempt, mode=mode, reason=reason) for e in entries)
            )
            return []
        if intended.after:
            # The jobs it was to wait for may have ended meanwhile, badly: what it waits for is worked out anew.
            message = "it never arrived, and what it waits for is looked at again"
            self.store.append(self._failed(intended, "unsent", message))
            return []
        again = replace(intended, at=now)
        self.store.append(again)
        answer = self._send(again)
        self.store.append(answer)
        return [answer] if isinstance(answer, Submitted) else []

    def _witnessed(self, now: float) -> Iterator[Submitted]:
        """Yield an event for each unanswered submission whose job has left its own record: it ran, and is gone.

        Without accounting this is all that is left of a job that was shorter than the controller's memory.
        """
        for intended in list(_unanswered(self.store.state)):
            for entry, attempt in self.store.state.of_token(intended.token):
                layout = self.book.layout.entry(self.book.plan.by_id[entry.id].name)
                record = exit_record(attempt, layout)
                if record is not None and record.job_id:
                    yield Submitted(at=now, token=intended.token, job_id=record.job_id.split("_")[0], adopted=True)
                    break

    def _send(self, intended: Intended) -> Submitted | SubmissionFailed:
        request = replace(self.book.request(intended), not_after=self._knows_until(intended))
        if not intended.tasks:
            # A job whose output folder is missing fails before its first line, without a log.
            try:
                Path(request.options["output"].replace("%%", "%")).parent.mkdir(parents=True, exist_ok=True)
            except OSError as err:
                return self._failed(intended, "unsent", f"{err.filename} cannot be made ({err.strerror})")
        try:
            self._refuse_changed(request.script, intended)
            job_id = self.scheduler.submit(request)
        except SchedulerError as err:
            outcome = _outcome(err)
            if outcome == "refused" and intended.after and _BAD_DEPENDENCY in str(err):
                outcome = "unsent"  # a job it was to wait for has ended meanwhile: its end is judged first
            told = logging.INFO if outcome == "refused" else logging.WARNING  # refusals are told at the end, once each
            _log.log(told, "%s: %s (%s)", intended.token, err, _CONSEQUENCES[outcome])
            return self._failed(intended, outcome, str(err))
        return Submitted(at=self.clock.now(), token=intended.token, job_id=str(job_id))

    def _refuse_changed(self, script: Path, intended: Intended) -> None:
        """Raise SubmissionRejected for a script that is not as it was planned; earlier releases noted no checksum."""
        planned = self.book.plan.by_id[intended.entries[0]].script_checksum
        with contextlib.suppress(OSError):  # what cannot be read is the scheduler's to refuse
            if planned and checksum(script.read_bytes()) != planned:
                raise SubmissionRejected(f"{script} was changed after it was planned; put it back, or plan anew")

    def _failed(self, intended: Intended, outcome: str, message: str) -> SubmissionFailed:
        return SubmissionFailed(at=self.clock.now(), token=intended.token, outcome=outcome, message=message)


def _outcome(err: SchedulerError) -> str:
    if isinstance(err, SubmissionRejected):
        return "refused"
    return "unsent" if isinstance(err, QueueFull | SchedulerUnavailable) else "unclear"


def _unanswered(state: SessionState) -> Iterator[Intended]:
    """Yield the intents that have neither an id nor a refusal; only the newest attempt of an entry can be of one."""
    lasts = (entry.attempts[-1] for entry in state.entries.values() if entry.attempts and not entry.over)
    waiting = {last.token for last in lasts if not (last.job_id or last.refused or last.is_over)}
    if waiting:
        yield from [intended for token, intended in state.tokens.items() if token in waiting]
