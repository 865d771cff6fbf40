"""Start and cancel conditions: asked in every cycle, journalled when the answer changes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from oellm_bench.conditions.base import Condition, Facts, Finding, Progress
from oellm_bench.core.events import CancelAsked, Gate, GivenUp
from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.core.result import ErrorMode
from oellm_bench.filling import entry_lookup
from oellm_bench.ordering import progress
from oellm_bench.placeholders import expand
from oellm_bench.shell import Completed
from oellm_bench.state.model import CANCELS_FOR_GOOD, EntryState, SessionState
from oellm_bench.watch import WatchSettings

MOST_AT_ONCE = 4  # commands of conditions, on the machine where the monitor runs


@dataclass
class _Run:
    """One command of a condition: running, or how it last ended."""

    process: subprocess.Popen[bytes] | None
    begun_at: float
    done: Completed | None = None


@dataclass
class CommandPool:
    """Runs commands beside the caller. What was running when its process ends is run anew by the next one."""

    _runs: dict[tuple[str, ...], _Run] = field(default_factory=dict)

    def run(self, argv: Sequence[str], folder: Path, timeout_s: float, every_s: float) -> Completed | None:
        """Return how the command last ended, None before its first end; starts it where it is due."""
        key, now = (str(folder), *argv), time.monotonic()
        known = self._runs.get(key)
        if known is not None and known.process is not None:
            self._look(known, argv, now, timeout_s)
        running = sum(run.process is not None for run in self._runs.values())
        due = known is None or (known.process is None and now - known.begun_at >= every_s)
        if due and running < MOST_AT_ONCE:
            self._runs[key] = self._started(argv, folder, now, known.done if known is not None else None)
        latest = self._runs.get(key)
        return latest.done if latest is not None else None

    @property
    def has_answered(self) -> bool:
        """Whether every command has ended once."""
        return all(run.done is not None for run in self._runs.values())

    def close(self) -> None:
        """End what is running."""
        for run in self._runs.values():
            if run.process is not None:
                _kill(run.process)

    def _look(self, run: _Run, argv: Sequence[str], now: float, timeout_s: float) -> None:
        assert run.process is not None
        code = run.process.poll()
        if code is None and now - run.begun_at <= timeout_s:
            return
        if code is None:
            _kill(run.process)
        run.done = Completed(argv=tuple(argv), returncode=code, stdout="", stderr="")
        run.process = None

    def _started(self, argv: Sequence[str], folder: Path, now: float, before: Completed | None) -> _Run:
        try:
            process = subprocess.Popen(
                argv,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError:
            return _Run(None, now, Completed(argv=tuple(argv), returncode=127, stdout="", stderr=""))
        return _Run(process, now, before)


def _kill(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


class Gates:
    """The start and cancel conditions of one session's entries."""

    def __init__(
        self, plan: Plan, layout: SessionLayout, settings: Sequence[WatchSettings], commands: CommandPool
    ) -> None:
        self._plan = plan
        self._layout = layout
        self._commands = commands
        self._start = [_conditions(s.monitoring.start_conditions) for s in settings]
        self._cancel = [_conditions(s.monitoring.cancel_conditions) for s in settings]
        self._ids = {entry.name: entry.id for entry in plan.entries} if any(self._start + self._cancel) else {}

    @property
    def has_answered(self) -> bool:
        """Whether every condition has had its answer."""
        return self._commands.has_answered

    def close(self) -> None:
        """End the commands that are running."""
        self._commands.close()

    def step(self, state: SessionState, now: float) -> Iterator[Gate | GivenUp | CancelAsked]:
        """Yield what the conditions say new."""
        if not self._ids:
            return
        for entry in state.entries.values():
            planned = self._plan.by_id[entry.id]
            if entry.over or entry.cancelled:
                continue
            cancel = self._cancelled(planned, entry, state, now)
            if cancel is not None:
                yield cancel
            elif entry.is_fresh and not entry.gate_open and self._start[planned.watch]:
                yield from self._opened(planned, entry, state, now)

    def _opened(
        self, planned: PlannedEntry, entry: EntryState, state: SessionState, now: float
    ) -> Iterator[Gate | GivenUp]:
        facts = self._facts(planned, entry, state, now)
        findings = _up_to_the_first_failure(self._start[planned.watch], facts)
        closed = next((finding for finding in findings if not finding.holds), None)
        if closed is not None and closed.never:
            reason = f"it can never start: {closed.reason}"
            yield GivenUp(at=now, entry=entry.id, mode=ErrorMode.DEPENDENCY_FAILED.value, reason=reason)
        elif closed is None:
            yield Gate(at=now, entry=entry.id, is_open=True, reason="; ".join(f.reason for f in findings))
        elif closed.reason != entry.gate_reason:
            yield Gate(at=now, entry=entry.id, is_open=False, reason=closed.reason)

    def _cancelled(
        self, planned: PlannedEntry, entry: EntryState, state: SessionState, now: float
    ) -> CancelAsked | None:
        last = entry.last
        if last is not None and last.cancel_by in CANCELS_FOR_GOOD:
            return None
        conditions = self._cancel[planned.watch]
        facts = self._facts(planned, entry, state, now)
        reason = next((f.reason for f in (c.check(facts) for c in conditions) if f.holds), None)
        if reason is None:
            return None
        number = 0 if last is None or last.is_over else last.number
        return CancelAsked(at=now, entry=entry.id, attempt=number, by="condition", reason=f"cancel condition: {reason}")

    def _facts(self, planned: PlannedEntry, entry: EntryState, state: SessionState, now: float) -> Facts:
        lookup = entry_lookup(planned, self._plan.project, self._layout)
        started = entry.last.started_at if entry.last is not None and entry.last.state.is_running else None

        def other(name: str) -> Progress | None:
            return progress(state.entries.get(self._ids.get(name, "")))

        return Facts(
            fill=lambda text: expand(text, lookup),
            folder=Path(planned.cwd),
            progress=other,
            run=self._commands.run,
            waiting_s=now - entry.selected_at,
            running_s=None if started is None else now - started,
        )


def _conditions(configs: Sequence[PluginConfig]) -> list[Condition]:
    return [config.instantiate(Condition) for config in configs]


def _up_to_the_first_failure(conditions: Sequence[Condition], facts: Facts) -> list[Finding]:
    """Ask one condition after the other, and no further than needed: a later one may be a costly command."""
    findings = []
    for condition in conditions:
        findings.append(condition.check(facts))
        if not findings[-1].holds:
            break
    return findings
