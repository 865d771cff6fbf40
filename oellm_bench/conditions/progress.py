"""Conditions on commands, on time, and on how far other entries are."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from compoconf import register

from oellm_bench.conditions.base import Condition, Facts, Finding
from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.errors import Problem


@dataclass(frozen=True, kw_only=True)
class CommandConditionConfig(PluginConfig):
    """A command exits with 0; it runs beside the monitor, on the monitor's machine, without a shell."""

    command: str | list[str] = option("the command; {placeholders} are filled in as one argument each")
    timeout_s: float = option("how long it may run", 60.0, unit="s")
    every_s: float = option("pause before it is run again", 60.0, unit="s")


@register
class CommandCondition(Condition):
    """Holds when the command's last run exited with 0."""

    config: CommandConditionConfig

    def __init__(self, config: CommandConditionConfig) -> None:
        self.config = config

    def validate(self) -> Sequence[Problem]:
        """Refuse a command that is none."""
        try:
            words = self._words()
        except ValueError as err:
            return [Problem(what=str(err), where="command", fix="close every quote")]
        return [] if words else [Problem(what="there is no command", where="command", fix="give one")]

    def templates(self) -> Sequence[str]:
        """Return the command's words."""
        return self._words()

    def check(self, facts: Facts) -> Finding:
        """Ask for the last run, which starts one where none is there."""
        argv = [facts.fill(word) for word in self._words()]
        done = facts.run(argv, facts.folder, self.config.timeout_s, self.config.every_s)
        if done is None:
            return Finding(holds=False, reason=f"{argv[0]} is running")
        if done.timed_out:
            return Finding(holds=False, reason=f"{argv[0]} took more than {self.config.timeout_s:g} s")
        return Finding(holds=done.returncode == 0, reason=f"{argv[0]} exited with {done.returncode}")

    def _words(self) -> list[str]:
        command = self.config.command
        return shlex.split(command) if isinstance(command, str) else command


@dataclass(frozen=True, kw_only=True)
class EntryStateConfig(PluginConfig):
    """Another entry of the session is so far."""

    entry: str = option("name of the other entry; {placeholders} are filled in")
    state: Literal["started", "succeeded", "failed", "over"] = option("how far it has to be", "succeeded")


@register
class EntryStateCondition(Condition):
    """Holds once the other entry has started, succeeded, failed for good, or is over either way."""

    config: EntryStateConfig

    def __init__(self, config: EntryStateConfig) -> None:
        self.config = config

    def entries(self) -> Sequence[str]:
        """Return the other entry's name."""
        return (self.config.entry,)

    def check(self, facts: Facts) -> Finding:
        """Look at the other entry; what it ended as it stays."""
        name, wanted = facts.fill(self.config.entry), self.config.state
        progress = facts.progress(name)
        if progress is None:
            return Finding(holds=False, never=True, reason=f"{name} is not part of this session")
        over = progress in ("succeeded", "failed")
        holds = {"started": progress != "waiting", "over": over}.get(wanted, progress == wanted)
        return Finding(holds=holds, never=over and not holds, reason=f"{name}: {progress}")


@dataclass(frozen=True, kw_only=True)
class ElapsedConfig(PluginConfig):
    """Time has passed."""

    seconds: float = option("how much", unit="s")
    of: Literal["waiting", "running"] = option("since the entry was selected, or since its attempt started", "waiting")


@register
class ElapsedCondition(Condition):
    """Holds once the entry has waited, or its attempt has run, for that long."""

    config: ElapsedConfig

    def __init__(self, config: ElapsedConfig) -> None:
        self.config = config

    def check(self, facts: Facts) -> Finding:
        """Compare the clocks."""
        passed = facts.waiting_s if self.config.of == "waiting" else facts.running_s
        if passed is None:
            return Finding(holds=False, reason="it does not run")
        holds = passed >= self.config.seconds
        return Finding(
            holds=holds, reason=f"{self.config.of} for {'' if holds else 'less than '}{self.config.seconds:g} s"
        )
