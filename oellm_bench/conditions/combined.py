"""Conditions made of conditions: all of them, any of them, the opposite of one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from compoconf import register

from oellm_bench.conditions.base import Condition, Facts, Finding
from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.errors import Problem

if TYPE_CHECKING:
    ConditionChoice = PluginConfig
else:
    ConditionChoice = Condition.cfgtype


class _Combined(Condition):
    """What stands over other conditions, and asks them."""

    def __init__(self, parts: Sequence[tuple[str, PluginConfig]]) -> None:
        self._parts: list[tuple[str, Condition]] = [(key, config.instantiate(Condition)) for key, config in parts]

    def validate(self) -> Sequence[Problem]:
        """Return what is wrong with the parts."""
        if not self._parts:
            return [Problem(what="there are no conditions", where="conditions", fix="give at least one")]
        return [
            replace(problem, where=f"{key}.{problem.where}") for key, part in self._parts for problem in part.validate()
        ]

    def templates(self) -> Sequence[str]:
        """Return those of the parts."""
        return [text for _, part in self._parts for text in part.templates()]

    def entries(self) -> Sequence[str]:
        """Return those of the parts."""
        return [name for _, part in self._parts for name in part.entries()]

    def findings(self, facts: Facts) -> Iterator[Finding]:
        """Yield the parts' answers; a part is asked only when its answer is wanted."""
        return (part.check(facts) for _, part in self._parts)


@dataclass(frozen=True, kw_only=True)
class AndConfig(PluginConfig):
    """All of these."""

    conditions: list[ConditionChoice] = option("conditions that all have to hold")


@register
class AndCondition(_Combined):
    """Holds while all of its conditions do; the first that does not gives the reason."""

    config: AndConfig

    def __init__(self, config: AndConfig) -> None:
        self.config = config
        super().__init__([(f"conditions.{number}", part) for number, part in enumerate(config.conditions)])

    def check(self, facts: Facts) -> Finding:
        """Ask one after the other, up to the first that does not hold."""
        reasons = []
        for finding in self.findings(facts):
            if not finding.holds:
                return finding
            reasons.append(finding.reason)
        return Finding(holds=True, reason="; ".join(reasons))


@dataclass(frozen=True, kw_only=True)
class OrConfig(PluginConfig):
    """Any of these."""

    conditions: list[ConditionChoice] = option("conditions of which one has to hold")


@register
class OrCondition(_Combined):
    """Holds while one of its conditions does."""

    config: OrConfig

    def __init__(self, config: OrConfig) -> None:
        self.config = config
        super().__init__([(f"conditions.{number}", part) for number, part in enumerate(config.conditions)])

    def check(self, facts: Facts) -> Finding:
        """Ask one after the other, up to the first that holds."""
        missed = []
        for finding in self.findings(facts):
            if finding.holds:
                return finding
            missed.append(finding)
        never = all(finding.never for finding in missed)
        return Finding(holds=False, never=never, reason="; ".join(finding.reason for finding in missed))


@dataclass(frozen=True, kw_only=True)
class NotConfig(PluginConfig):
    """Not this."""

    condition: ConditionChoice = option("condition that must not hold")


@register
class NotCondition(_Combined):
    """Holds while its condition does not."""

    config: NotConfig

    def __init__(self, config: NotConfig) -> None:
        self.config = config
        super().__init__([("condition", config.condition)])

    def check(self, facts: Facts) -> Finding:
        """Turn the answer round."""
        (finding,) = self.findings(facts)
        return Finding(holds=not finding.holds, reason=finding.reason)
