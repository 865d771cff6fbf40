"""Commands that signals ask for: templates to argv, and the queue that runs them beside the monitor's loop."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from oellm_bench.core.events import ActionQueued, ActionTried
from oellm_bench.placeholders import expand
from oellm_bench.state.model import ActionState, SessionState

_NEVER_STARTS = frozenset({errno.E2BIG, errno.ENAMETOOLONG, errno.EINVAL})  # whatever is waited for
MOST_AT_ONCE = 4  # commands of one session, on the machine where the monitor runs: as a rule a shared login node

_log = logging.getLogger(__name__)


def action_argv(template: str | list[str], lookup: Callable[[str], str | None]) -> tuple[str, ...]:
    """Return the command of an action. The template is split first and filled in after, part by part, so that
    whatever a log said stays inside one argument.

    Raises ValueError for an unclosed quote or brace, UnknownPlaceholder for a name without a value.
    """
    parts = shlex.split(template) if isinstance(template, str) else template
    return tuple(expand(part, lookup) for part in parts)


class ActionRunner:
    """Runs queued commands in their order, a few at a time, without ever making the monitor wait.

    Each try runs under a wrapper that outlives the monitor and writes its result into a folder of its own. A
    monitor started anew therefore waits for a try that is still running and never runs one again that ended.
    """

    def __init__(self, folder: Path, *, timeout_s: float, attempts: int, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._timeout_s = timeout_s
        self._attempts = attempts
        self._environment = environment
        self._wrappers: dict[Path, subprocess.Popen[bytes]] = {}

    def step(self, state: SessionState, now: float) -> Iterator[ActionTried]:
        """Yield what has ended since the last step, and start what is due in the places that are free.

        What has failed is tried again in the next step at the earliest.
        """
        places, due = MOST_AT_ONCE, []
        for action in state.actions.values():
            if action.done or action.tries >= self._attempts:
                continue
            folder = self._try_folder(action)
            if self._is_running(folder):
                places -= 1
                continue
            outcome = _outcome(folder)
            if outcome is None:
                due.append((folder, action))
            else:
                yield self._ended(action, folder, outcome, now)
        for folder, action in due[: max(places, 0)]:
            try:
                self._start(folder, action.queued)
            except (OSError, ValueError) as err:
                if isinstance(err, OSError) and err.errno not in _NEVER_STARTS:  # a full disk, no more processes
                    _log.warning("action %s (%s) cannot be started now: %s", action.queued.name, action.queued.id, err)
                else:
                    yield self._ended(action, folder, (False, f"cannot be started: {err}"), now)

    def idle(self, state: SessionState) -> bool:
        """Tell whether nothing runs and nothing is left to run."""
        return all(action.done or action.tries >= self._attempts for action in state.actions.values())

    def _is_running(self, folder: Path) -> bool:
        wrapper = self._wrappers.get(folder)
        return (wrapper is not None and wrapper.poll() is None) or _is_locked(folder)

    def _ended(self, action: ActionState, folder: Path, outcome: tuple[bool, str], now: float) -> ActionTried:
        self._wrappers.pop(folder, None)
        ok, message = outcome
        note = f"{message}, see {folder / 'output.log'}" if message else ""
        if note:
            tries = f"{action.tries + 1} of {self._attempts} tries"
            _log.warning("action %s (%s) failed, %s: %s", action.queued.name, action.queued.id, tries, note)
        return ActionTried(at=now, id=action.queued.id, ok=ok, message=note)

    def _try_folder(self, action: ActionState) -> Path:
        queued = action.queued
        digest = hashlib.sha256(os.fsencode(queued.id)).hexdigest()[:8]
        return self._folder / f"{queued.entry}-a{queued.attempt}-{queued.name}-{digest}-{action.tries + 1}"

    def _start(self, folder: Path, action: ActionQueued) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        argv = (
            sys.executable,
            "-P",
            "-m",
            "oellm_bench.actions.wrapper",
            str(folder),
            str(self._timeout_s),
            *action.argv,
        )
        with (folder / "output.log").open("ab") as output:
            self._wrappers[folder] = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**self._environment, "OELLM_BENCH_ACTION_ID": action.id},
                start_new_session=True,
            )


def _is_locked(folder: Path) -> bool:
    """Tell whether a wrapper is at work in this folder, started by this monitor or by one before it."""
    try:
        with (folder / "lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _outcome(folder: Path) -> tuple[bool, str] | None:
    """Return whether a try went well and what there is to say, None for a try that never began."""
    try:
        document = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        return bool(document["ok"]), str(document["message"])
    except (OSError, ValueError, KeyError):
        return (False, "ended without a word") if (folder / "started").exists() else None
