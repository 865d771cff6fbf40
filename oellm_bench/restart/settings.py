"""Which policy answers which error mode, and the budget over all of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from oellm_bench.core.change import Change
from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.core.result import ErrorMode
from oellm_bench.restart.base import Decision, Failure, RestartPolicy
from oellm_bench.restart.nodes import BadNodes

if TYPE_CHECKING:
    PolicyChoice = PluginConfig
else:
    PolicyChoice = RestartPolicy.cfgtype

_NEVER = frozenset({ErrorMode.SUCCESS, ErrorMode.CANCELLED, ErrorMode.SUBMIT_REJECTED, ErrorMode.DEPENDENCY_FAILED})


@dataclass(frozen=True, kw_only=True)
class ModePolicy:
    """The policy of one error mode."""

    mode: str = option(f"error mode: {', '.join(mode.value for mode in ErrorMode)}")
    implementation: PolicyChoice = option("the policy, by class_name")
    how: Literal["resubmit", "requeue"] = option(
        "a new job, or the same one put back into the queue (scontrol requeue) where nothing of it is to change",
        "resubmit",
    )


@dataclass(frozen=True, kw_only=True)
class RestartConfig:
    """What follows when an attempt ends badly."""

    max_restarts: int = option("restarts one entry may have in all, whatever the reasons", 5)
    window_restarts: int = option("restarts one entry may have within window_s; 0: any number", 0)
    window_s: float = option("the time window of window_restarts", 1800.0, unit="s")
    stop_without_progress: int = option(
        "attempts in a row that got no further than those before (backend.progress) end the entry; 0: never", 0
    )
    backoff_s: float = option("pause before the first restart of an entry; it grows with each; 0: none", 0.0, unit="s")
    backoff_factor: float = option("how much longer each pause is than the one before", 4.0)
    backoff_most_s: float = option("longest pause", 3600.0, unit="s")
    bad_nodes: BadNodes = option("which nodes ExcludeNodesPolicy avoids", factory=BadNodes)
    max_failed_share: float = option(
        "once brake_after entries are over and more than this share of them has failed for good, no more are started",
        1.0,
    )
    brake_after: int = option("entries that have to be over before max_failed_share counts", 10)
    restart_policies: tuple[ModePolicy, ...] = option(
        "policies by error mode; a finer mode (oom, preempted, node_fail, ...) without one uses crash's", ()
    )


def policies_by_mode(config: RestartConfig) -> dict[ErrorMode, RestartPolicy]:
    """Return the configured policies ready for use; the last of two for one mode wins.

    Raises ValueError for a mode that does not exist.
    """
    return {ErrorMode(item.mode): item.implementation.instantiate(RestartPolicy) for item in config.restart_policies}


def decide(failure: Failure, policies: dict[ErrorMode, RestartPolicy], config: RestartConfig) -> Decision:
    """Return what follows a failure: the mode's own policy, else its parent's, else the end.

    Whatever a policy says, a user's own cancel is never undone, and the budgets in all and per window hold.
    """
    if failure.mode in _NEVER:
        return Decision(restart=False, reason=failure.reason or failure.mode.value, policy="")
    policy = _policy_for(failure.mode, policies)
    if policy is None:
        return Decision(restart=False, reason=f"no policy for {failure.mode.value}", policy="")
    decision = policy.decide(failure)
    if decision.restart and decision.change == Change() and _how(failure.mode, config) == "requeue":
        decision = replace(decision, requeue=True)
    return _within_budgets(decision, failure, config) if decision.restart else decision


def restart_asked_for(failure: Failure, config: RestartConfig) -> Decision:
    """Return what follows an attempt that an action ended to have it restarted: that, within the budgets."""
    return _within_budgets(Decision(restart=True, reason=failure.reason, policy="RestartAction"), failure, config)


def _within_budgets(decision: Decision, failure: Failure, config: RestartConfig) -> Decision:
    spent = _spent(failure, config)
    if spent:
        return Decision(restart=False, reason=spent, policy=decision.policy, spent=True)
    return replace(decision, delay_s=pause_s(failure, config))


def pause_s(failure: Failure, config: RestartConfig) -> float:
    """Return how long to wait before the next attempt: longer each time, within a quarter of it by chance.

    The chance is the entry's own, and the same however often it is asked: many entries that fail together do not
    come back together.
    """
    try:
        longest = min(config.backoff_s * config.backoff_factor**failure.restarts, config.backoff_most_s)
    except OverflowError:
        longest = config.backoff_most_s if config.backoff_s else 0.0
    digest = hashlib.sha256(f"{failure.entry}/{failure.attempt}".encode()).digest()
    return longest * (0.75 + 0.5 * digest[0] / 255)


def _spent(failure: Failure, config: RestartConfig) -> str:
    """Return which budget is used up, empty where none is."""
    if failure.restarts >= config.max_restarts:
        return f"all {config.max_restarts} restarts of this entry are used up"
    if config.window_restarts and failure.lately >= config.window_restarts:
        return f"{failure.lately} restarts within {config.window_s:g} s"
    if config.stop_without_progress and failure.without_progress >= config.stop_without_progress:
        return f"{failure.without_progress} attempts in a row got no further"
    return ""


def _policy_for(mode: ErrorMode, policies: dict[ErrorMode, RestartPolicy]) -> RestartPolicy | None:
    return next((policies[kind] for kind in _chain(mode) if kind in policies), None)


def _how(mode: ErrorMode, config: RestartConfig) -> str:
    ways = {item.mode: item.how for item in config.restart_policies}
    return next((ways[kind.value] for kind in _chain(mode) if kind.value in ways), "")


def _chain(mode: ErrorMode) -> Iterator[ErrorMode]:
    """Yield the modes whose policy applies, the mode's own first."""
    yield mode
    if mode.parent is not None:
        yield mode.parent
