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

from oellm_bench.conditions.base import Condition, Facts, Progress
from oellm_bench.conditions.combined import all_of, any_of
from oellm_bench.core.events import CancelAsked, Gate, GivenUp
from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.core.result import ErrorMode
from oellm_bench.filling import entry_lookup
from oellm_bench.ordering import progress
from oellm_bench.shell import Completed
from oellm_bench.state.model import CANCELS_FOR_GOOD, EntryState, SessionState
from oellm_bench.watch import WatchSettings

MOST_AT_ONCE = 4  # commands of conditions, on the machine where the monitor runs


@dataclass
class _Run:
    """One command of a condition: running, or how it last ended."""

    argv: tuple[str, ...]
    process: subprocess.Popen[bytes] | None
    begun_at: float
    timeout_s: float
    done: Completed | None = None


@dataclass
class CommandPool:
    """Runs commands beside the caller. What was running when its process ends is run anew by the next one.

    Between two calls of `begin` lies one look at all conditions: what nobody asked for in it is ended, so that no
    place is taken by a command whose condition does not matter any more.
    """

    _runs: dict[tuple[str, ...], _Run] = field(default_factory=dict)
    _asked: set[tuple[str, ...]] = field(default_factory=set)

    def begin(self) -> None:
        """Begin a look: take note of what has ended, end what took too long or is not wanted any more."""
        for key, run in list(self._runs.items()):
            if run.process is None:
                continue
            code = run.process.poll()
            if code is None and key not in self._asked:
                _kill(run.process)
                del self._runs[key]
            elif code is not None or time.monotonic() - run.begun_at > run.timeout_s:
                if code is None:
                    _kill(run.process)
                run.done, run.process = Completed(argv=run.argv, returncode=code, stdout="", stderr=""), None
        self._asked.clear()

    def run(self, argv: Sequence[str], folder: Path, timeout_s: float, every_s: float) -> Completed | None:
        """Return how the command last ended, None before its first end; starts it where it is due."""
        key, now = (str(folder), *argv), time.monotonic()
        self._asked.add(key)
        known = self._runs.get(key)
        running = sum(run.process is not None for run in self._runs.values())
        due = known is None or (known.process is None and now - known.begun_at >= every_s)
        if due and running < MOST_AT_ONCE:
            before = known.done if known is not None else None
            self._runs[key] = self._started(_Run(tuple(argv), None, now, timeout_s, before), folder)
        latest = self._runs.get(key)
        return latest.done if latest is not None else None

    @property
    def has_answered(self) -> bool:
        """Whether every command that was asked for in this look has ended once."""
        return all(key in self._runs and self._runs[key].done is not None for key in self._asked)

    def close(self) -> None:
        """End what is running."""
        for run in self._runs.values():
            if run.process is not None:
                _kill(run.process)

    @staticmethod
    def _started(run: _Run, folder: Path) -> _Run:
        try:
            run.process = subprocess.Popen(
                run.argv,
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except (OSError, ValueError):
            run.done = Completed(argv=run.argv, returncode=127, stdout="", stderr="")
        return run


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
        self._commands.begin()
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
        finding = all_of(self._start[planned.watch], self._facts(planned, entry, state, now))
        if finding.never:
            reason = f"it can never start: {finding.reason}"
            yield GivenUp(at=now, entry=entry.id, mode=ErrorMode.DEPENDENCY_FAILED.value, reason=reason)
        elif finding.holds or finding.reason != entry.gate_reason:
            yield Gate(at=now, entry=entry.id, is_open=finding.holds, reason=finding.reason)

    def _cancelled(
        self, planned: PlannedEntry, entry: EntryState, state: SessionState, now: float
    ) -> CancelAsked | None:
        last = entry.last
        if last is not None and last.cancel_by in CANCELS_FOR_GOOD:
            return None
        finding = any_of(self._cancel[planned.watch], self._facts(planned, entry, state, now))
        if not finding.holds:
            return None
        number = 0 if last is None or last.is_over else last.number
        return CancelAsked(
            at=now, entry=entry.id, attempt=number, by="condition", reason=f"cancel condition: {finding.reason}"
        )

    def _facts(self, planned: PlannedEntry, entry: EntryState, state: SessionState, now: float) -> Facts:
        lookup = entry_lookup(planned, self._plan.project, self._layout)
        started = entry.last.started_at if entry.last is not None and entry.last.state.is_running else None

        def other(name: str) -> Progress | None:
            return progress(state.entries.get(self._ids.get(name, "")))

        def signals(name: str, signal: str) -> int:
            known = state.entries.get(self._ids.get(name, ""))
            return 0 if known is None else known.signals_called(signal)

        return Facts(
            lookup=lookup,
            folder=Path(planned.cwd),
            progress=other,
            signals=signals,
            run=self._commands.run,
            waiting_s=now - entry.selected_at,
            running_s=None if started is None else now - started,
        )


def _conditions(configs: Sequence[PluginConfig]) -> list[Condition]:
    return [config.instantiate(Condition) for config in configs]
