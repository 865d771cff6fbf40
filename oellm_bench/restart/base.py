"""What a restart policy is: from the facts of a failure to a decision, without touching anything."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field

from compoconf import RegistrableConfigInterface, register_interface

from oellm_bench.core.change import Change
from oellm_bench.core.result import ErrorMode


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What is known when an attempt of an entry has ended badly.

    `restarts_for_mode` counts the restarts this entry has had for the same error mode, `restarts` all of them.
    `signals` and `subsystems` are those seen in the attempt's logs. `memory` is what was asked for (`mem=64G`, empty:
    nothing). `bad_nodes`: the nodes that the campaign's failures speak against. `without_progress`: how many attempts
    in a row, this one included, got no further than those before. `lately`: restarts within the time window.
    """

    mode: ErrorMode
    reason: str
    attempt: int
    entry: str = ""
    restarts: int
    restarts_for_mode: int
    signals: frozenset[str] = frozenset()
    subsystems: frozenset[str] = frozenset()
    memory: str = ""
    bad_nodes: tuple[str, ...] = ()
    without_progress: int = 0
    lately: int = 0


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What follows: a restart with some change, `delay_s` from now at the earliest; or the end of the entry.

    `requeue`: by the same job, if the cluster takes it back. `spent`: a policy would have restarted, a budget did not
    let it.
    """

    restart: bool
    reason: str
    policy: str
    change: Change = field(default_factory=Change)
    delay_s: float = 0.0
    as_planned: bool = False
    requeue: bool = False
    spent: bool = False


@register_interface
class RestartPolicy(RegistrableConfigInterface, abc.ABC):
    """One rule for one error mode. Implementations take `(config)` and are pure."""

    @abc.abstractmethod
    def decide(self, failure: Failure) -> Decision:
        """Return what to do about `failure`."""

    def stop(self, reason: str) -> Decision:
        """Return the decision to end the entry."""
        return Decision(restart=False, reason=reason, policy=type(self).__name__)

    def again(self, reason: str, change: Change | None = None) -> Decision:
        """Return the decision to restart."""
        return Decision(restart=True, reason=reason, policy=type(self).__name__, change=change or Change())

    def within_budget(self, failure: Failure, max_retries: int) -> bool:
        """Tell whether one more restart for this mode stays within `max_retries` restarts."""
        return failure.restarts_for_mode < max_retries
