"""Which policy answers which error mode, and the budget over all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.core.result import ErrorMode
from oellm_bench.restart.base import Decision, Failure, RestartPolicy

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


@dataclass(frozen=True, kw_only=True)
class RestartConfig:
    """What follows when an attempt ends badly."""

    max_restarts: int = option("restarts one entry may have in all, whatever the reasons", 5)
    restart_policies: tuple[ModePolicy, ...] = option(
        "policies by error mode; a finer mode (oom, preempted, node_fail, ...) without one uses crash's", ()
    )


def policies_by_mode(config: RestartConfig) -> dict[ErrorMode, RestartPolicy]:
    """Return the configured policies ready for use; the last of two for one mode wins.

    Raises ValueError for a mode that does not exist.
    """
    return {ErrorMode(item.mode): item.implementation.instantiate(RestartPolicy) for item in config.restart_policies}


def decide(failure: Failure, policies: dict[ErrorMode, RestartPolicy], *, max_restarts: int) -> Decision:
    """Return what follows a failure: the mode's own policy, else its parent's, else the end.

    Whatever a policy says, a user's own cancel is never undone and the total budget holds.
    """
    if failure.mode in _NEVER:
        return Decision(restart=False, reason=failure.reason or failure.mode.value, policy="")
    policy = _policy_for(failure.mode, policies)
    if policy is None:
        return Decision(restart=False, reason=f"no policy for {failure.mode.value}", policy="")
    decision = policy.decide(failure)
    if decision.restart and failure.restarts >= max_restarts:
        reason = f"all {max_restarts} restarts of this entry are used up"
        return Decision(restart=False, reason=reason, policy=decision.policy)
    return decision


def _policy_for(mode: ErrorMode, policies: dict[ErrorMode, RestartPolicy]) -> RestartPolicy | None:
    chain: Sequence[ErrorMode | None] = (mode, mode.parent)
    return next((policies[kind] for kind in chain if kind is not None and kind in policies), None)
