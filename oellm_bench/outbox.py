"""What the sinks of a session are still to be told: worked out of its state, which the journal keeps."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from oellm_bench.core.plan import Plan
from oellm_bench.core.result import ErrorMode
from oellm_bench.sinks.base import Notice, Progress
from oellm_bench.state.model import AttemptState, EntryState, SessionState


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """What one sink has not taken: `results` of `of`, `notices`, the session's end; `message`: why, as it last said."""

    sink: str
    results: int
    of: int
    notices: int
    message: str

    def __str__(self) -> str:
        """Say it in one line."""
        what = [f"{self.results} of {self.of} results"] if self.results else []
        what += [f"{self.notices} notices"] if self.notices else []
        reason = f": {self.message}" if self.message else ""
        return f"sink {self.sink} has not taken {' and '.join(what) or 'the end of the session'}{reason}"


class Outbox:
    """The results and notices of one session, by keys that say which of them a sink has had."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._settled: dict[str, int] = {}  # attempts of entries of which every sink has had everything

    def results(self, sink: str, state: SessionState) -> Iterator[str]:
        """Yield the ids of ended entries whose result a sink has not taken."""
        for entry in state.entries.values():
            if entry.over and (sink, entry.id) not in state.delivered and not self._is_settled(entry):
                yield entry.id

    def notices(self, sink: str, state: SessionState) -> Iterator[Notice]:
        """Yield the notices that a sink has not taken.

        None of a session that it has taken the end of without a single one: earlier releases told none.
        """
        if (sink, "") in state.delivered and not any(name == sink for name, _ in state.told):
            return
        for event in state.notices.values():
            if (sink, event.key) not in state.told:
                name = self._plan.by_id[event.entry].name if event.entry else ""
                yield Notice(key=event.key, message=event.message, at=event.at, entry=name, attempt=event.attempt)
        for entry in state.entries.values():
            if (entry.over or entry.restart_due or len(entry.attempts) > 1) and not self._is_settled(entry):
                for notice in ends(entry, self._plan.by_id[entry.id].name):
                    if (sink, notice.key) not in state.told:
                        yield notice

    def settle(self, sinks: Iterable[str], state: SessionState) -> None:
        """Remember which entries need no further look: all sinks have had all of them."""
        names = list(sinks)
        for entry in state.entries.values():
            if entry.over and not self._is_settled(entry):
                keys = [notice.key for notice in ends(entry, "")]
                if all(
                    (name, entry.id) in state.delivered and all((name, key) in state.told for key in keys)
                    for name in names
                ):
                    self._settled[entry.id] = len(entry.attempts)

    def _is_settled(self, entry: EntryState) -> bool:
        return self._settled.get(entry.id) == len(entry.attempts)


def ends(entry: EntryState, name: str) -> Iterator[Notice]:
    """Yield a notice for each attempt that did not end well and what followed it, and for an entry given up."""
    for index, attempt in enumerate(entry.attempts):
        followed = index + 1 < len(entry.attempts) or entry.restart_due
        if attempt.mode in (None, ErrorMode.SUCCESS) or not (followed or entry.over):
            continue
        yield Notice(
            key=f"end:{entry.id}:{index + 1}",
            message=_message(attempt, restarted=followed),
            at=attempt.over_at,
            entry=name,
            attempt=attempt.number,
            kind="restart" if followed else "notice" if attempt.mode is ErrorMode.CANCELLED else "failure",
        )
    if entry.over and entry.given_up is not None:
        message = f"given up: {entry.given_up.value} ({entry.decision})"
        yield Notice(key=f"end:{entry.id}:given-up", message=message, at=entry.selected_at, entry=name, kind="failure")


def _message(attempt: AttemptState, *, restarted: bool) -> str:
    mode = attempt.mode.value if attempt.mode else ""
    reason = f" ({attempt.reason})" if attempt.reason else ""
    policy = f"restart by policy {attempt.policy}: " if restarted and attempt.policy else ""
    decision = f"; {policy}{attempt.decision}" if attempt.decision and attempt.decision != attempt.reason else ""
    return f"attempt {attempt.number} ended: {mode}{reason}{decision}"


def counts(state: SessionState) -> Progress:
    """Return how many entries do what."""
    passed = failed = running = 0
    for entry in state.entries.values():
        last = entry.last
        if entry.over:
            success = last is not None and last.mode is ErrorMode.SUCCESS
            passed, failed = passed + success, failed + (not success)
        elif last is not None and not last.is_over and last.state.is_running:
            running += 1
    waiting = len(state.entries) - passed - failed - running
    return Progress(waiting=waiting, running=running, passed=passed, failed=failed)


def leftovers(sinks: Iterable[str], plan: Plan, state: SessionState) -> list[Leftover]:
    """Return what each sink has not taken of what there is by now; a sink that has everything is left out."""
    box, over = Outbox(plan), sum(entry.over for entry in state.entries.values())
    found = []
    for sink in sinks:
        results = sum(1 for _ in box.results(sink, state))
        notices = sum(1 for _ in box.notices(sink, state))
        if results or notices or (state.finished and (sink, "") not in state.delivered):
            message = state.sink_errors.get(sink, "")
            found.append(Leftover(sink=sink, results=results, of=over, notices=notices, message=message))
    return found
