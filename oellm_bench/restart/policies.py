"""The policies that come with the package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from compoconf import register

from oellm_bench.core.change import Change
from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.restart.base import Decision, Failure, RestartPolicy


@dataclass(frozen=True, kw_only=True)
class AlwaysRestartConfig(PluginConfig):
    """Restart, so many times."""

    max_retries: int = option("restarts this entry may have for this error mode; 2 means two restarts", 2)
    reason: str = option("text for the journal", "")


@register
class AlwaysRestartPolicy(RestartPolicy):
    """Restart until the budget of this error mode is spent."""

    config: AlwaysRestartConfig

    def __init__(self, config: AlwaysRestartConfig) -> None:
        self.config = config

    def decide(self, failure: Failure) -> Decision:
        """Return a restart while there is budget."""
        count, budget = failure.restarts_for_mode, self.config.max_retries
        if not self.within_budget(failure, budget):
            return self.stop(f"{count} of {budget} restarts for {failure.mode.value} are used up")
        note = f": {self.config.reason}" if self.config.reason else ""
        return self.again(f"restart {count + 1} of {budget} for {failure.mode.value}{note}")


@dataclass(frozen=True, kw_only=True)
class NoRestartConfig(PluginConfig):
    """Stop."""

    message: str = option("text for the journal and the report", "")


@register
class NoRestartPolicy(RestartPolicy):
    """End the entry."""

    config: NoRestartConfig

    def __init__(self, config: NoRestartConfig) -> None:
        self.config = config

    def decide(self, failure: Failure) -> Decision:
        """Return the end, with the configured message."""
        return self.stop(self.config.message or f"no restart for {failure.mode.value}")


@dataclass(frozen=True, kw_only=True)
class AdjustTimeLimitConfig(PluginConfig):
    """Restart with more time."""

    minutes: float = option("how much longer each restart may take than the attempt before", unit="min")
    max_retries: int = option("restarts this entry may have for this error mode", 3)


@register
class AdjustTimeLimitPolicy(RestartPolicy):
    """Restart with a longer time limit, of the job and of the command alike."""

    config: AdjustTimeLimitConfig

    def __init__(self, config: AdjustTimeLimitConfig) -> None:
        self.config = config

    def decide(self, failure: Failure) -> Decision:
        """Return a restart with more time while there is budget."""
        count, budget = failure.restarts_for_mode, self.config.max_retries
        if not self.within_budget(failure, budget):
            return self.stop(f"{count} of {budget} restarts with more time are used up")
        reason = f"restart {count + 1} of {budget} with {self.config.minutes:g} more minutes"
        return self.again(reason, Change(extra_time_s=self.config.minutes * 60))


@dataclass(frozen=True, kw_only=True)
class GrowMemoryConfig(PluginConfig):
    """Restart with more memory."""

    factor: float = option("how many times the memory of the attempt before", 1.5)
    max_retries: int = option("restarts this entry may have for this error mode", 2)


@register
class GrowMemoryPolicy(RestartPolicy):
    """Restart with more of the memory that was asked for (mem, mem-per-cpu or mem-per-gpu)."""

    config: GrowMemoryConfig

    def __init__(self, config: GrowMemoryConfig) -> None:
        if config.factor <= 1:
            raise ValueError(f"a factor of {config.factor:g} gives no more memory; give more than 1")
        self.config = config

    def decide(self, failure: Failure) -> Decision:
        """Return a restart with more memory while there is budget, the end where none was asked for."""
        count, budget = failure.restarts_for_mode, self.config.max_retries
        if not failure.memory:
            return self.stop("no memory is asked for that could grow; set slurm.sbatch.mem")
        if not self.within_budget(failure, budget):
            return self.stop(f"{count} of {budget} restarts with more memory are used up")
        reason = f"restart {count + 1} of {budget} with {self.config.factor:g} times the memory"
        return self.again(reason, Change(memory_factor=self.config.factor))


@dataclass(frozen=True, kw_only=True)
class ExcludeNodesConfig(PluginConfig):
    """Restart elsewhere."""

    max_retries: int = option("restarts this entry may have for this error mode", 3)


@register
class ExcludeNodesPolicy(RestartPolicy):
    """Restart on other nodes than those that the campaign's failures speak against (restart.bad_nodes)."""

    config: ExcludeNodesConfig

    def __init__(self, config: ExcludeNodesConfig) -> None:
        self.config = config

    def decide(self, failure: Failure) -> Decision:
        """Return a restart elsewhere while there is budget."""
        count, budget = failure.restarts_for_mode, self.config.max_retries
        if not self.within_budget(failure, budget):
            return self.stop(f"{count} of {budget} restarts on other nodes are used up")
        without = f" without {', '.join(failure.bad_nodes)}" if failure.bad_nodes else ""
        return self.again(f"restart {count + 1} of {budget}{without}", Change(exclude=failure.bad_nodes))


@dataclass(frozen=True, kw_only=True)
class SelectiveRestartConfig(PluginConfig):
    """Restart for some reasons, never for others."""

    max_retries: int = option("restarts this entry may have for this error mode", 3)
    restart_on_error_types: tuple[str, ...] = option("error modes that are restarted", ())
    restart_on_signals: tuple[str, ...] = option("log signals that are restarted", ())
    restart_on_subsystems: tuple[str, ...] = option("metadata.subsystem of log signals that are restarted", ())
    exclude_error_types: tuple[str, ...] = option("error modes and log signals that are never restarted", ())
    default_action: Literal["restart", "stop"] = option("what to do when nothing above fits", "stop")


@register
class SelectiveRestartPolicy(RestartPolicy):
    """Budget first, then exclusions, then inclusions, then the default."""

    config: SelectiveRestartConfig

    def __init__(self, config: SelectiveRestartConfig) -> None:
        self.config = config

    def decide(self, failure: Failure) -> Decision:
        """Return a restart where an inclusion fits and no exclusion does."""
        kinds = {failure.mode.value} | failure.signals
        excluded = kinds & set(self.config.exclude_error_types)
        if excluded:
            return self.stop(f"never restarted for {_names(excluded)}")
        if not self.within_budget(failure, self.config.max_retries):
            return self.stop(f"{self.config.max_retries} restarts for {failure.mode.value} are used up")
        included = (
            ({failure.mode.value} & set(self.config.restart_on_error_types))
            | (failure.signals & set(self.config.restart_on_signals))
            | (failure.subsystems & set(self.config.restart_on_subsystems))
        )
        if included:
            return self.again(f"restarted for {_names(included)}")
        if self.config.default_action == "restart":
            return self.again(f"restarted by default for {failure.mode.value}")
        return self.stop(f"not restarted for {_names(kinds)}")


def _names(kinds: set[str] | frozenset[str]) -> str:
    return ", ".join(sorted(kinds))
