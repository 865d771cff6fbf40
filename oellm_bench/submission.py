"""Submit what is due, exactly once: intent on disk first, then sbatch, then its answer on disk."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from oellm_bench.clock import Clock
from oellm_bench.core.events import Ended, Event, Intended, SubmissionFailed, Submitted
from oellm_bench.core.job import Snapshot
from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.core.result import ErrorMode
from oellm_bench.core.token import array_token, attempt_token, session_prefix
from oellm_bench.errors import QueueFull, SchedulerError, SchedulerUnavailable, SubmissionRejected
from oellm_bench.judging import exit_record
from oellm_bench.monitoring.reconcile import adoptions, match, observations
from oellm_bench.ordering import jobs_to_wait_for
from oellm_bench.schedulers.base import Limits, Scheduler, SubmitRequest
from oellm_bench.state.model import EntryState, SessionState
from oellm_bench.state.store import SessionStore
from oellm_bench.units import format_slurm_time

_log = logging.getLogger(__name__)
_AT_ONCE = 25  # submissions made under one lock
_CONSEQUENCES = {
    "unclear": "it is looked up before it is sent again",
    "refused": "it is not sent again",
    "unsent": "nothing was sent, it is due again later",
}


@dataclass(frozen=True, kw_only=True)
class Book:
    """What is needed to know which submissions are due, and what each of them is."""

    session8: str
    plan: Plan
    layout: SessionLayout
    max_parallel: int | None = None
    max_submit: int | None = None

    def due(self, state: SessionState, now: float, limits: Limits) -> list[Intended]:
        """Return the submissions that can be made now: first attempts, then decided restarts.

        Array tasks of one script that have not run yet go out together, in chunks that the cluster takes; a
        restarted task goes alone. No more than `max_submit` jobs and tasks are unfinished at once.
        """
        entries = self.plan.by_id
        places = self._places(state, limits)
        fresh = [entries[e.id] for e in state.entries.values() if e.is_fresh and self._may_start(e, state)][:places]
        in_arrays = [entry for entry in fresh if entry.task is not None and not entry.after]
        found = [self._single(entry, 1, 0.0, now, state) for entry in fresh if entry.task is None or entry.after]
        found += self._arrays(in_arrays, state, now, limits)
        again = [entry for entry in state.entries.values() if entry.restart_due and self._may_start(entry, state)]
        for entry in again[: None if places is None else max(places - len(fresh), 0)]:
            last = entry.attempts[-1]
            extra_time_s = last.extra_time_s + entry.next_extra_time_s
            found.append(self._single(entries[entry.id], last.number + 1, extra_time_s, now, state))
        return found

    def _may_start(self, entry: EntryState, state: SessionState) -> bool:
        """Tell whether an entry's start conditions hold, and all that it waits for has a job or has ended well."""
        planned = self.plan.by_id[entry.id]
        gated = bool(self.plan.watch) and bool(self.plan.watch[planned.watch]["monitoring"].get("start_conditions"))
        return (entry.gate_open or not gated) and jobs_to_wait_for(planned, state) is not None

    def _places(self, state: SessionState, limits: Limits) -> int | None:
        """Return how many more jobs and tasks may be unfinished, None for any number."""
        allowed = min((n for n in (self.max_submit, limits.max_submit) if n is not None), default=None)
        if allowed is None:
            return None
        unfinished = sum(bool(e.attempts) and not e.attempts[-1].is_over for e in state.entries.values())
        return max(allowed - unfinished, 0)

    def request(self, intended: Intended) -> SubmitRequest:
        """Return the exact call that a submission makes."""
        entry = self.plan.by_id[intended.entries[0]]
        output = self.layout.entry(entry.name).attempt(intended.attempt).slurm_output
        options = {"output": self.layout.array_output if intended.tasks else output}
        if intended.after:
            after = f"{entry.after_type}:{':'.join(intended.after)}"
            options["dependency"] = f"{entry.dependency},{after}" if entry.dependency else after
        if intended.extra_time_s:
            options["time"] = format_slurm_time(entry.resources.walltime_s + intended.extra_time_s)
        return SubmitRequest(
            name=intended.token,
            script=self.layout.root / entry.script,
            arguments=(str(intended.attempt), intended.token, f"{intended.timeout_s:g}", str(intended.offset)),
            tasks=intended.tasks,
            max_parallel=self.max_parallel if len(intended.tasks) > 1 else None,
            options=options,
        )

    def first_attempt(self, entry: PlannedEntry, now: float) -> Intended:
        """Return an entry's first submission, alone."""
        return self._single(entry, 1, 0.0, now, SessionState())

    def _single(
        self, entry: PlannedEntry, attempt: int, extra_time_s: float, now: float, state: SessionState
    ) -> Intended:
        return Intended(
            at=now,
            token=attempt_token(self.session8, entry.id, attempt),
            entries=(entry.id,),
            attempt=attempt,
            tasks=() if entry.task is None else (0,),
            offset=entry.task or 0,
            after=jobs_to_wait_for(entry, state) or (),
            timeout_s=entry.timeout_s + extra_time_s,
            extra_time_s=extra_time_s,
        )

    def _arrays(
        self, entries: Sequence[PlannedEntry], state: SessionState, now: float, limits: Limits
    ) -> list[Intended]:
        chunks: dict[tuple[str, float, int], list[tuple[PlannedEntry, int]]] = {}
        size = limits.max_array_size
        for entry in entries:
            if entry.task is not None:
                chunk = entry.task // size
                chunks.setdefault((entry.script, entry.timeout_s, chunk), []).append((entry, entry.task % size))
        taken = sum("-array" in token for token in state.tokens)
        return [
            Intended(
                at=now,
                token=array_token(self.session8, taken + number),
                entries=tuple(entry.id for entry, _ in members),
                attempt=1,
                tasks=tuple(task for _, task in members),
                offset=chunk * size,
                timeout_s=timeout_s,
            )
            for number, ((_, timeout_s, chunk), members) in enumerate(chunks.items())
        ]


@dataclass(frozen=True, kw_only=True)
class Submitter:
    """Makes the submissions of one session."""

    book: Book
    store: SessionStore
    scheduler: Scheduler
    clock: Clock

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
                going_on = bool(due) and self._submit(due[:_AT_ONCE], submitted)
        return submitted

    def _submit(self, batch: Sequence[Intended], submitted: list[Submitted]) -> bool:
        """Make submissions, add those with an id to `submitted`, and tell whether more would have a chance."""
        pending: list[Event] = []
        for intended in batch:
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

    def recover(self, since: float) -> None:
        """Bring the state up to date where what is to be submitted hangs on what an earlier process has left.

        That is so for submissions without an answer, and for jobs that further entries wait for.
        """
        state = self.store.state
        waited_for = {other for entry in self.book.plan.entries for other in entry.after}
        alive = any(i in waited_for and e.last and not e.last.is_over for i, e in state.entries.items())
        if not alive and not list(_unanswered(state)):
            return
        snapshot = self.scheduler.snapshot(session_prefix(self.book.session8), since)
        self.adopt(snapshot)
        with self.store.locked():
            self.store.append(*observations(self.store.state, match(snapshot, self.store.state), snapshot))
        self.resend_lost(snapshot)

    def adopt(self, snapshot: Snapshot) -> None:
        """Take note of jobs whose submission never got its answer and that are there all the same."""
        with self.store.locked():
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
        request = self.book.request(intended)
        if not intended.tasks:
            # A job whose output folder is missing fails before its first line, without a log.
            Path(request.options["output"].replace("%%", "%")).parent.mkdir(parents=True, exist_ok=True)
        try:
            job_id = self.scheduler.submit(request)
        except SchedulerError as err:
            outcome = _outcome(err)
            if outcome == "refused" and intended.after and "dependency" in str(err).lower():
                outcome = "unsent"  # a job it was to wait for has ended meanwhile: its end is judged first
            _log.warning("%s: %s (%s)", intended.token, err, _CONSEQUENCES[outcome])
            return self._failed(intended, outcome, str(err))
        return Submitted(at=self.clock.now(), token=intended.token, job_id=str(job_id))

    def _failed(self, intended: Intended, outcome: str, message: str) -> SubmissionFailed:
        return SubmissionFailed(at=self.clock.now(), token=intended.token, outcome=outcome, message=message)


def _outcome(err: SchedulerError) -> str:
    if isinstance(err, SubmissionRejected):
        return "refused"
    return "unsent" if isinstance(err, QueueFull | SchedulerUnavailable) else "unclear"


def _unanswered(state: SessionState) -> Iterator[Intended]:
    """Yield the intents that have neither an id nor a refusal."""
    for token, intended in state.tokens.items():
        attempts = state.of_token(token)
        if any(not (entry.over or a.job_id or a.refused or a.is_over) for entry, a in attempts):
            yield intended
