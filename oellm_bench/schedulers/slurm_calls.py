"""Calls of SLURM commands: few, bounded in time, and none at all to a controller that is away."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oellm_bench.errors import SchedulerUnavailable
from oellm_bench.fileio import file_lock
from oellm_bench.schedulers.base import CallBudget, Pause
from oellm_bench.shell import Completed, run

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 10.0, 300.0
NO_ACCOUNTING = "accounting storage is disabled"


@dataclass(frozen=True, kw_only=True)
class _Pause:
    """A command that is left alone until then (epoch seconds)."""

    failures: int
    until: float
    length_s: float
    message: str

    @property
    def left_s(self) -> float:
        """Return how much of it is left; no more than it was meant for, whatever became of the clock."""
        return max(min(self.until - time.time(), self.length_s), 0.0)


@dataclass(kw_only=True)
class _Account:
    """What the ledger's file holds; `at` in epoch seconds."""

    tokens: float
    at: float
    made: int = 0
    pauses: dict[str, _Pause] = field(default_factory=dict)

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> _Account:
        """Read what was written. Raises ValueError, TypeError, KeyError for anything else."""
        pauses = {command: _Pause(**pause) for command, pause in document["pauses"].items()}
        return cls(
            tokens=float(document["tokens"]), at=float(document["at"]), made=int(document["made"]), pauses=pauses
        )


class Ledger:
    """A token bucket and a circuit breaker per command, shared by all processes of this tool on one state folder.

    Sites throttle users (slurmctld's rl_enable: bucket 30, 2 a second) and then block them silently inside the
    command; staying below that is politer, and visible. A command that has failed is left alone for a while, by
    everyone: first 10 s, then twice as long each time, up to 300 s. Then one call tries.
    """

    def __init__(self, path: Path, *, per_s: float, burst: int) -> None:
        self._path = path
        self._per_s = per_s
        self._burst = burst

    def take(self) -> None:
        """Wait for a token and take it."""
        with self._account() as account:
            if account.tokens < 1:
                time.sleep((1 - account.tokens) / self._per_s)
                account.tokens, account.at = 1.0, time.time()
            account.tokens -= 1
            account.made += 1

    def is_paused(self, command: str) -> bool:
        """Tell whether a command is to be left alone for now."""
        pause = self._read().pauses.get(command)
        return pause is not None and pause.left_s > 0

    def succeeded(self, command: str) -> None:
        """Forget a command's failures."""
        if command in self._read().pauses:
            with self._account() as account:
                account.pauses.pop(command, None)

    def failed(self, command: str, message: str) -> float:
        """Note a failure and return for how long the command is left alone, seconds."""
        with self._account() as account:
            last = account.pauses.get(command)
            length_s = _FIRST_PAUSE_S if last is None else min(2 * last.length_s, _LONGEST_PAUSE_S)
            failures = 1 if last is None else last.failures + 1
            until = time.time() + length_s
            account.pauses[command] = _Pause(failures=failures, until=until, length_s=length_s, message=message)
        return length_s

    def budget(self) -> CallBudget:
        """Return how much is left, and what is left alone."""
        account = self._read()
        pauses = tuple(
            Pause(command=command, failures=pause.failures, left_s=pause.left_s, message=pause.message)
            for command, pause in sorted(account.pauses.items())
        )
        return CallBudget(
            left=int(account.tokens), burst=self._burst, per_s=self._per_s, made=account.made, pauses=pauses
        )

    @contextlib.contextmanager
    def _account(self) -> Iterator[_Account]:
        """Yield the account for a change, and write it."""
        with file_lock(self._path.with_suffix(".lock")):
            account = self._read()
            yield account
            with contextlib.suppress(OSError):  # a full disk is no reason to stop asking
                self._path.write_text(json.dumps(dataclasses.asdict(account)), encoding="utf-8")

    def _read(self) -> _Account:
        """Return the account with the tokens of this moment; a full one where none can be read."""
        now = time.time()
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            account = _Account.from_document(json.loads(self._path.read_text(encoding="utf-8")))
            if account.at <= now:  # a clock that was set back must not stop all calls
                account.tokens = min(self._burst, account.tokens + (now - account.at) * self._per_s)
                account.at = now
                return account
        return _Account(tokens=float(self._burst), at=now)


class SlurmCalls:
    """Runs SLURM commands with a time limit, within the ledger's bounds."""

    def __init__(self, ledger: Ledger, *, timeout_s: float) -> None:
        self._ledger = ledger
        self._timeout_s = timeout_s
        self.made = 0

    def query(self, argv: Sequence[str], environment: Mapping[str, str]) -> Completed | None:
        """Return what a query printed, None where it failed or was not made because the last ones failed.

        A cluster without accounting says so: that answer comes back with its exit code.
        """
        if self._ledger.is_paused(argv[0]):
            return None
        done = self.call(argv, environment)
        if done.returncode == 0 or NO_ACCOUNTING in done.stderr:
            self._ledger.succeeded(argv[0])
            return done
        pause_s = self._ledger.failed(argv[0], failure_text(done))
        _log.warning("%s; it is left alone for %.0f s", failure_text(done), pause_s)
        return None

    def call(self, argv: Sequence[str], environment: Mapping[str, str]) -> Completed:
        """Run one command. Raises SchedulerUnavailable where it is not installed."""
        self._ledger.take()
        self.made += 1
        try:
            return run(argv, timeout_s=self._timeout_s, environment=environment)
        except FileNotFoundError as err:
            fix = "run this where SLURM's commands are on PATH, or use the embedded scheduler (--fake)"
            raise SchedulerUnavailable(f"{argv[0]} is not installed here; {fix}") from err


def failure_text(done: Completed) -> str:
    """Return a failed command's own words on one line."""
    said = " ".join((done.stderr or done.stdout).split())
    return f"{done.argv[0]}: {said or ('out of time' if done.timed_out else f'exit code {done.returncode}')}"
