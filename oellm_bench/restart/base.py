"""What a restart policy is: from the facts of a failure to a decision, without touching anything."""

from __future__ import annotations

import abc
from dataclasses import dataclass

from compoconf import RegistrableConfigInterface, register_interface

from oellm_bench.core.result import ErrorMode


@dataclass(frozen=True, kw_only=True)
class Failure:
    """What is known when an attempt of an entry has ended badly.

    `restarts_for_mode` counts the restarts this entry has had for the same error mode, `restarts` all of them.
    `signals` and `subsystems` are those seen in the attempt's logs.
    """

    mode: ErrorMode
    reason: str
    attempt: int
    restarts: int
    restarts_for_mode: int
    signals: frozenset[str] = frozenset()
    subsystems: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What follows: a restart (with that much more time), or the end of the entry."""

    restart: bool
    reason: str
    policy: str
    extra_time_s: float = 0.0


@register_interface
class RestartPolicy(RegistrableConfigInterface, abc.ABC):
    """One rule for one error mode. Implementations take `(config)` and are pure."""

    @abc.abstractmethod
    def decide(self, failure: Failure) -> Decision:
        """Return what to do about `failure`."""

    def stop(self, reason: str) -> Decision:
        """Return the decision to end the entry."""
        return Decision(restart=False, reason=reason, policy=type(self).__name__)

    def again(self, reason: str, *, extra_time_s: float = 0.0) -> Decision:
        """Return the decision to restart."""
        return Decision(restart=True, reason=reason, policy=type(self).__name__, extra_time_s=extra_time_s)

    def within_budget(self, failure: Failure, max_retries: int) -> bool:
        """Tell whether one more restart for this mode stays within `max_retries` restarts."""
        return failure.restarts_for_mode < max_retries
