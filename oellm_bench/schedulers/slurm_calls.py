"""Calls of SLURM commands: few, bounded in time, and none at all to a controller that is away."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from oellm_bench.errors import SchedulerUnavailable
from oellm_bench.fileio import WriteError, file_lock
from oellm_bench.schedulers.base import CallBudget, Pause
from oellm_bench.shell import Completed, run

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 10.0, 300.0
_PROBE_S = 60.0  # how long a call that tries after a pause may take before another one does
NO_ACCOUNTING = "accounting storage is disabled"


@dataclass(frozen=True, kw_only=True)
class _Pause:
    """A command that is left alone until then (epoch seconds)."""

    failures: int
    until: float
    length_s: float
    message: str

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> _Pause:
        """Read what was written. Raises ValueError, TypeError, KeyError for anything else."""
        until, length_s = float(document["until"]), float(document["length_s"])
        if not (math.isfinite(until) and math.isfinite(length_s)):
            raise ValueError("no finite number")
        return cls(failures=int(document["failures"]), until=until, length_s=length_s, message=str(document["message"]))

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
        numbers = {name: float(document[name]) for name in ("tokens", "at", "made")}
        pauses = {command: _Pause.from_document(pause) for command, pause in document["pauses"].items()}
        if not all(math.isfinite(number) for number in numbers.values()):
            raise ValueError("no finite number")
        return cls(tokens=numbers["tokens"], at=numbers["at"], made=int(numbers["made"]), pauses=pauses)


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

    def may_try(self, command: str) -> bool:
        """Tell whether a command may be called now; after a pause that is so for one caller only."""
        if command not in self._read().pauses:
            return True
        with self._account() as account:
            pause = account.pauses.get(command)
            if pause is None:
                return True
            if pause.left_s > 0:
                return False
            probe = replace(pause, until=time.time() + _PROBE_S, length_s=max(pause.length_s, _PROBE_S))
            account.pauses[command] = probe
            return True

    def succeeded(self, command: str) -> None:
        """Forget a command's failures."""
        if command in self._read().pauses:
            with self._account() as account:
                account.pauses.pop(command, None)

    def failed(self, command: str, message: str) -> float:
        """Note a failure and return for how long the command is left alone, seconds."""
        with self._account() as account:
            last = account.pauses.get(command)
            failures = 1 if last is None else last.failures + 1
            length_s = min(_FIRST_PAUSE_S * 2.0 ** min(failures - 1, 10), _LONGEST_PAUSE_S)
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
        with contextlib.ExitStack() as held:
            with contextlib.suppress(WriteError):  # a folder one may only read is no reason to stop asking
                held.enter_context(file_lock(self._path.with_suffix(".lock")))
            account = self._read()
            yield account
            with contextlib.suppress(OSError):  # nor is a full disk
                part = self._path.with_suffix(".part")
                part.write_text(json.dumps(dataclasses.asdict(account)), encoding="utf-8")
                part.replace(self._path)

    def _read(self) -> _Account:
        """Return the account with the tokens of this moment; a full one where none can be read."""
        now = time.time()
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            account = _Account.from_document(json.loads(self._path.read_text(encoding="utf-8")))
            if account.at <= now:  # a clock that was set back must not stop all calls
                grown = account.tokens + (now - account.at) * self._per_s
                account.tokens = min(max(grown, 0.0), self._burst)
                account.at = now
                return account
        return _Account(tokens=float(self._burst), at=now)


class SlurmCalls:
    """Runs SLURM commands with a time limit, within the ledger's bounds."""

    def __init__(self, ledger: Ledger, *, timeout_s: float) -> None:
        self._ledger = ledger
        self._timeout_s = timeout_s
        self.made = 0

    def query(self, argv: Sequence[str], environment: Mapping[str, str], *, insist: bool) -> Completed | None:
        """Return what a query printed, None where it failed or was not made because the last ones failed.

        A cluster without accounting says so: that answer comes back with its exit code. `insist`: make it anyway.
        """
        if not self._ledger.may_try(argv[0]) and not insist:
            return None
        done = self.call(argv, environment)
        if done.returncode == 0 or NO_ACCOUNTING in done.stderr:
            self._ledger.succeeded(argv[0])
            return done
        pause_s = self._ledger.failed(argv[0], failure_text(done))
        _log.warning("%s; it is left alone for %.0f s", failure_text(done), pause_s)
        return None

    def call(self, argv: Sequence[str], environment: Mapping[str, str], *, not_after: float = math.inf) -> Completed:
        """Run one command.

        Raises SchedulerUnavailable where it is not installed, and where the budget has no place for it before
        `not_after` (epoch seconds).
        """
        self._ledger.take()
        if time.time() > not_after:
            raise SchedulerUnavailable(f"{argv[0]} was not called: the budget of calls had no place for it in time")
        self.made += 1
        try:
            return run(argv, timeout_s=self._timeout_s, environment=environment)
        except FileNotFoundError as err:
            fix = "run this where SLURM's commands are on PATH, or use the embedded scheduler (--fake)"
            raise SchedulerUnavailable(f"{argv[0]} is not installed here; {fix}") from err


def failure_text(done: Completed) -> str:
    """Return a failed command's own words on one line."""
    said = " ".join((done.stderr or done.stdout).split())
    said = said.removeprefix(f"{done.argv[0]}: ")
    return f"{done.argv[0]}: {said or ('out of time' if done.timed_out else f'exit code {done.returncode}')}"
