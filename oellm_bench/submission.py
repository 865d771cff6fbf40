"""Submit what is due, exactly once: intent on disk first, then sbatch, then its answer on disk."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from oellm_bench.clock import Clock
from oellm_bench.core.events import Event, Intended, SubmissionFailed, Submitted
from oellm_bench.core.job import Snapshot
from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.core.token import array_token, attempt_token, session_prefix
from oellm_bench.errors import QueueFull, SchedulerError, SubmissionRejected
from oellm_bench.monitoring.reconcile import adoptions, match
from oellm_bench.schedulers.base import Scheduler, SubmitRequest
from oellm_bench.state.fold import SessionState
from oellm_bench.state.store import SessionStore
from oellm_bench.units import format_slurm_time

_log = logging.getLogger(__name__)
_CONSEQUENCES = {
    "unclear": "it is looked up before it is sent again",
    "refused": "it is not sent again",
    "full": "it waits for a place",
}


@dataclass(frozen=True, kw_only=True)
class Book:
    """What is needed to know which submissions are due, and what each of them is."""

    session8: str
    plan: Plan
    layout: SessionLayout
    max_parallel: int | None = None

    def due(self, state: SessionState, now: float) -> list[Intended]:
        """Return the submissions that are to be made now: first attempts, then decided restarts.

        Array tasks of one script that have not run yet go out together; a restarted task goes alone.
        """
        entries = self.plan.by_id
        fresh = [entries[e.id] for e in state.entries.values() if not e.attempts and not e.over]
        found = [self._single(entry, 1, 0.0, now) for entry in fresh if entry.task is None]
        found += self._arrays([entry for entry in fresh if entry.task is not None], state, now)
        found += [
            self._single(entries[entry.id], last.number + 1, last.extra_time_s + entry.next_extra_time_s, now)
            for entry in state.entries.values()
            if entry.restart_due and (last := entry.last) is not None
        ]
        return found

    def request(self, intended: Intended) -> SubmitRequest:
        """Return the exact call that a submission makes."""
        entry = self.plan.by_id[intended.entries[0]]
        output = self.layout.entry(entry.name).attempt(intended.attempt).slurm_output
        options = {"output": self.layout.array_output if intended.tasks else output}
        if intended.extra_time_s:
            options["time"] = format_slurm_time(entry.resources.walltime_s + intended.extra_time_s)
        return SubmitRequest(
            name=intended.token,
            script=self.layout.root / entry.script,
            arguments=(str(intended.attempt), intended.token, f"{intended.timeout_s:g}"),
            tasks=intended.tasks,
            max_parallel=self.max_parallel if len(intended.tasks) > 1 else None,
            options=options,
        )

    def _single(self, entry: PlannedEntry, attempt: int, extra_time_s: float, now: float) -> Intended:
        return Intended(
            at=now,
            token=attempt_token(self.session8, entry.id, attempt),
            entries=(entry.id,),
            attempt=attempt,
            tasks=() if entry.task is None else (entry.task,),
            timeout_s=entry.timeout_s + extra_time_s,
            extra_time_s=extra_time_s,
        )

    def _arrays(self, entries: Sequence[PlannedEntry], state: SessionState, now: float) -> list[Intended]:
        by_script: dict[tuple[str, float], list[PlannedEntry]] = {}
        for entry in entries:
            by_script.setdefault((entry.script, entry.timeout_s), []).append(entry)
        taken = sum("-array" in token for token in state.tokens)
        return [
            Intended(
                at=now,
                token=array_token(self.session8, taken + number),
                entries=tuple(entry.id for entry in members),
                attempt=1,
                tasks=tuple(entry.task for entry in members if entry.task is not None),
                timeout_s=timeout_s,
            )
            for number, ((_, timeout_s), members) in enumerate(by_script.items())
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

        The journal stays locked meanwhile: no other process can take the same entries for due. An unavailable
        scheduler ends the round; what was not sent is looked up and sent again later.
        """
        submitted: list[Submitted] = []
        with self.store.locked():
            pending: list[Event] = []
            for intended in self.book.due(self.store.state, self.clock.now()):
                self.store.append(*pending, intended)
                answer = self._send(intended)
                pending = [answer]
                if isinstance(answer, Submitted):
                    submitted.append(answer)
                elif isinstance(answer, SubmissionFailed) and answer.outcome != "refused":
                    break  # whatever ails the scheduler, more submissions do not make it better
            self.store.append(*pending)
        return submitted

    def recover(self, since: float) -> None:
        """Settle submissions that an earlier process left without an answer, if there are any."""
        if not list(_unanswered(self.store.state)):
            return
        snapshot = self.scheduler.snapshot(session_prefix(self.book.session8), since)
        self.adopt(snapshot)
        self.resend_lost(snapshot)

    def adopt(self, snapshot: Snapshot) -> None:
        """Take note of jobs whose submission never got its answer and that are there all the same."""
        matched = match(snapshot, self.store.state)
        with self.store.locked():
            self.store.append(*adoptions(self.store.state, matched, snapshot.taken_at))

    def resend_lost(self, snapshot: Snapshot) -> list[Submitted]:
        """Send again what was intended and, as every source now says, never arrived.

        Waits for the scheduler's grace time after the intent: until then a job may still turn up.
        """
        if not (snapshot.queue_answered and snapshot.accounting_answered):
            return []
        submitted: list[Submitted] = []
        with self.store.locked():
            for intended in list(_unanswered(self.store.state)):
                if snapshot.taken_at - _waiting_since(intended, self.store.state) < self.scheduler.lookup_grace_s:
                    continue
                again = replace(intended, at=self.clock.now())
                self.store.append(again)
                answer = self._send(again)
                self.store.append(answer)
                if isinstance(answer, Submitted):
                    submitted.append(answer)
        return submitted

    def _send(self, intended: Intended) -> Submitted | SubmissionFailed:
        request = self.book.request(intended)
        if not intended.tasks:
            # A job whose output folder is missing fails before its first line, without a log.
            Path(request.options["output"].replace("%%", "%")).parent.mkdir(parents=True, exist_ok=True)
        try:
            job_id = self.scheduler.submit(request)
        except SchedulerError as err:
            outcome = _outcome(err)
            _log.warning("%s: %s (%s)", intended.token, err, _CONSEQUENCES[outcome])
            return SubmissionFailed(at=self.clock.now(), token=intended.token, outcome=outcome, message=str(err))
        return Submitted(at=self.clock.now(), token=intended.token, job_id=str(job_id))


def _outcome(err: SchedulerError) -> str:
    if isinstance(err, SubmissionRejected):
        return "refused"
    return "full" if isinstance(err, QueueFull) else "unclear"


def _waiting_since(intended: Intended, state: SessionState) -> float:
    return max(attempt.unclear_since or attempt.intended_at for _, attempt in state.of_token(intended.token))


def _unanswered(state: SessionState) -> Iterator[Intended]:
    """Yield the intents that have neither an id nor a refusal."""
    for token, intended in state.tokens.items():
        attempts = state.of_token(token)
        if any(not (entry.over or a.job_id or a.refused or a.is_over) for entry, a in attempts):
            yield intended
