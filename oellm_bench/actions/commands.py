"""Commands that signals ask for: templates to argv, and the queue that runs them beside the monitor's loop."""

from __future__ import annotations

import logging
import shlex
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from oellm_bench.core.events import ActionQueued, ActionTried
from oellm_bench.placeholders import expand
from oellm_bench.proctree import kill_descendants
from oellm_bench.shell import command_line
from oellm_bench.state.fold import SessionState

_log = logging.getLogger(__name__)


def action_argv(template: str | list[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """Return the command of an action. The template is split first and filled in after, part by part:
    whatever a log said stays inside one argument.

    Raises ValueError for an unclosed quote or brace, UnknownPlaceholder for a name without a value.
    """
    parts = shlex.split(template) if isinstance(template, str) else template
    return tuple(expand(part, values.get) for part in parts)


@dataclass
class _Running:
    action: ActionQueued
    process: subprocess.Popen[bytes]
    deadline: float


class ActionRunner:
    """Runs queued commands one at a time without ever making the monitor wait.

    At-least-once: a command that was running when the monitor died is run again; its id is in OELLM_BENCH_ACTION_ID
    for a command that must know.
    """

    def __init__(
        self, folder: Path, *, timeout_s: float, attempts: int, environment: Mapping[str, str]
    ) -> None:
        self._folder = folder
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._environment = environment
        self._running: _Running | None = None

    def step(self, state: SessionState, now: float) -> Iterator[ActionTried]:
        """Yield what has ended, and start the next command that is due."""
        if self._running is not None:
            ended = self._check(self._running, now)
            if ended is None:
                return
            self._running = None
            yield ended
        for action in state.actions.values():
            if not action.done and action.tries < self._attempts:
                started = self._start(action.queued, now)
                if started is not None:
                    yield started
                return

    def idle(self, state: SessionState) -> bool:
        """Tell whether nothing runs and nothing is left to run."""
        waiting = any(not a.done and a.tries < self._attempts for a in state.actions.values())
        return self._running is None and not waiting

    def _start(self, action: ActionQueued, now: float) -> ActionTried | None:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "actions.log").open("ab") as log:
            log.write(f"[{action.id}] {command_line(action.argv)}\n".encode())
            log.flush()
            try:
                process = subprocess.Popen(
                    action.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env={**self._environment, "OELLM_BENCH_ACTION_ID": action.id},
                    start_new_session=True,
                )
            except OSError as err:
                return ActionTried(at=now, id=action.id, ok=False, message=f"cannot be started: {err}")
        self._running = _Running(action, process, now + self._timeout_s)
        return None

    def _check(self, running: _Running, now: float) -> ActionTried | None:
        code = running.process.poll()
        if code is not None:
            message = "" if code == 0 else f"exit code {code}, see actions.log"
            return ActionTried(at=now, id=running.action.id, ok=code == 0, message=message)
        if now < running.deadline:
            return None
        kill_descendants(running.process.pid, grace_s=5.0)
        running.process.kill()
        running.process.wait()
        return ActionTried(at=now, id=running.action.id, ok=False, message="out of time")
