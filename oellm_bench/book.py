"""Which submissions of a session are due, and what each of them is: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oellm_bench.core.change import Change
from oellm_bench.core.events import Intended
from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.core.token import array_token, attempt_token
from oellm_bench.ordering import jobs_to_wait_for
from oellm_bench.schedulers.base import Limits, SubmitRequest
from oellm_bench.state.model import EntryState, SessionState
from oellm_bench.units import format_slurm_time, scaled_memory


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
        found = [self._single(entry, 1, Change(), now, state) for entry in fresh if entry.task is None or entry.after]
        found += self._arrays(in_arrays, state, now, limits)
        again = [
            e
            for e in state.entries.values()
            if e.restart_due and not e.requeue_due and e.not_before <= now and self._may_start(e, state)
        ]
        for entry in again[: None if places is None else max(places - len(fresh), 0)]:
            last = entry.attempts[-1]
            before = Change(extra_time_s=last.change.extra_time_s) if entry.as_planned else last.change
            change = before.then(entry.next_change)
            found.append(self._single(entries[entry.id], last.number + 1, change, now, state))
        return sorted(found, key=lambda intended: bool(intended.after))  # what hangs on others holds nobody up

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
        if intended.memory_factor != 1 and entry.memory:
            name, _, value = entry.memory.partition("=")
            options[name] = scaled_memory(value, intended.memory_factor)
        if intended.exclude:
            options["exclude"] = ",".join(filter(None, (entry.exclude, *intended.exclude)))
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
        return self._single(entry, 1, Change(), now, SessionState())

    def _single(self, entry: PlannedEntry, attempt: int, change: Change, now: float, state: SessionState) -> Intended:
        return Intended(
            at=now,
            token=attempt_token(self.session8, entry.id, attempt),
            entries=(entry.id,),
            attempt=attempt,
            tasks=() if entry.task is None else (0,),
            offset=entry.task or 0,
            after=jobs_to_wait_for(entry, state) or (),
            timeout_s=entry.timeout_s + change.extra_time_s,
            **vars(change),
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
