"""Conditions on commands, on time, and on how far other entries are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from compoconf import register

from oellm_bench.conditions.base import Condition, Facts, Finding, at_least, not_empty
from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.errors import Problem
from oellm_bench.rendering.shell_line import fill_line


@dataclass(frozen=True, kw_only=True)
class CommandConditionConfig(PluginConfig):
    """A command exits with 0; it runs beside the monitor, on the monitor's machine."""

    command: str | list[str] = option("argv as a list, or a line for bash; {placeholders} are one word each")
    timeout_s: float = option("how long it may run", 60.0, unit="s")
    every_s: float = option("pause before it is run again", 60.0, unit="s")


@register
class CommandCondition(Condition):
    """Holds when the command's last run exited with 0."""

    config: CommandConditionConfig
    is_costly = True

    def __init__(self, config: CommandConditionConfig) -> None:
        self.config = config

    def validate(self) -> Sequence[Problem]:
        """Refuse a command that is none."""
        command = self.config.command
        missing = [] if command else [Problem(what="there is no command", where="command", fix="give one")]
        numbers = at_least("timeout_s", self.config.timeout_s, 0, above=True)
        return [*missing, *numbers, *at_least("every_s", self.config.every_s, 0)]

    def templates(self) -> Sequence[str]:
        """Return the command's words, or its line."""
        return [self.config.command] if isinstance(self.config.command, str) else self.config.command

    def check(self, facts: Facts) -> Finding:
        """Ask for the last run, which starts one where none is there."""
        argv, timeout_s = self._argv(facts), self.config.timeout_s
        shown = self.config.command[:60] if isinstance(self.config.command, str) else argv[0]
        done = facts.run(argv, facts.folder, timeout_s, self.config.every_s)
        if done is None:
            return Finding(holds=False, is_known=False, reason=f"{shown} is running")
        if done.timed_out:
            return Finding(holds=False, reason=f"{shown} took more than {timeout_s:g} s")
        return Finding(holds=done.returncode == 0, reason=f"{shown} exited with {done.returncode}")

    def _argv(self, facts: Facts) -> list[str]:
        command = self.config.command
        if isinstance(command, str):
            return ["bash", "-c", fill_line(command, facts.lookup)]
        return [facts.fill(word) for word in command]


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

    def requires(self) -> Sequence[str]:
        """Return the other entry's name."""
        return (self.config.entry,)

    def check(self, facts: Facts) -> Finding:
        """Look at the other entry; what it ended as it stays."""
        name, wanted = facts.fill(self.config.entry), self.config.state
        progress = facts.progress(name)
        if progress is None:
            return Finding(holds=False, is_final=True, reason=f"{name} is not part of this session")
        over = progress in ("succeeded", "failed")
        holds = {"started": progress != "waiting", "over": over}.get(wanted, progress == wanted)
        return Finding(holds=holds, is_final=over, reason=f"{name}: {progress}")


@dataclass(frozen=True, kw_only=True)
class SignalSeenConfig(PluginConfig):
    """Another entry of the session has given a log signal."""

    entry: str = option("name of the other entry; {placeholders} are filled in")
    signal: str = option("name of the signal (monitoring.log_signals)")
    times: int = option("how often, in all attempts of the entry", 1)


@register
class SignalSeenCondition(Condition):
    """Holds once the logs of the other entry have given the signal so often: its first checkpoint is there, say."""

    config: SignalSeenConfig

    def __init__(self, config: SignalSeenConfig) -> None:
        self.config = config

    def validate(self) -> Sequence[Problem]:
        """Refuse a signal without a name, and a number that asks for nothing."""
        return [*not_empty("signal", self.config.signal), *at_least("times", self.config.times, 1)]

    def entries(self) -> Sequence[str]:
        """Return the other entry's name."""
        return (self.config.entry,)

    def requires(self) -> Sequence[str]:
        """Return the other entry's name."""
        return (self.config.entry,)

    def check(self, facts: Facts) -> Finding:
        """Count the signals; of an entry that is over no more will come."""
        name, wanted = facts.fill(self.config.entry), self.config.times
        progress = facts.progress(name)
        if progress is None:
            return Finding(holds=False, is_final=True, reason=f"{name} is not part of this session")
        seen = min(facts.signals(name, self.config.signal), wanted)
        is_final = seen >= wanted or progress in ("succeeded", "failed")
        return Finding(holds=seen >= wanted, is_final=is_final, reason=f"{name}: {self.config.signal} {seen}/{wanted}")


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
        self.needs_a_running_job = config.of == "running"

    def validate(self) -> Sequence[Problem]:
        """Refuse a time below 0."""
        return at_least("seconds", self.config.seconds, 0)

    def check(self, facts: Facts) -> Finding:
        """Compare the clocks."""
        passed = facts.waiting_s if self.config.of == "waiting" else facts.running_s
        if passed is None:
            return Finding(holds=False, reason="it does not run")
        holds = passed >= self.config.seconds
        return Finding(
            holds=holds, reason=f"{self.config.of} for {'' if holds else 'less than '}{self.config.seconds:g} s"
        )
