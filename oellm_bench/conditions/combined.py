"""Conditions made of conditions: all of them, any of them, the opposite of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from compoconf import register

from oellm_bench.conditions.base import Condition, ConditionChoice, Facts, Finding
from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.errors import Problem


def all_of(conditions: Sequence[Condition], facts: Facts) -> Finding:
    """Return whether all conditions hold; what stands in the way gives the reason, for good before for now.

    All are asked, so that one that never can hold is found out; a costly one only while the others hold.
    """
    missed: list[Finding] = []
    held: list[Finding] = []
    for condition in sorted(conditions, key=lambda part: part.is_costly):
        if missed and condition.is_costly:
            break
        finding = condition.check(facts)
        (held if finding.holds and finding.is_known else missed).append(finding)
    if not missed:
        final = all(finding.is_final for finding in held)
        return Finding(holds=True, is_final=final, reason="; ".join(finding.reason for finding in held))
    return replace(min(missed, key=lambda finding: (not finding.never, not finding.is_known)), holds=False)


def any_of(conditions: Sequence[Condition], facts: Facts) -> Finding:
    """Return whether one of the conditions holds; a costly one is asked only while no other does."""
    missed = []
    for condition in sorted(conditions, key=lambda part: part.is_costly):
        finding = condition.check(facts)
        if finding.holds and finding.is_known:
            return finding
        missed.append(finding)
    return Finding(
        holds=False,
        is_known=all(finding.is_known for finding in missed),
        is_final=all(finding.is_final for finding in missed),
        reason="; ".join(finding.reason for finding in missed),
    )


class _Combined(Condition):
    """What stands over other conditions, and asks them."""

    def __init__(self, parts: Sequence[tuple[str, PluginConfig]]) -> None:
        self._keys = [key for key, _ in parts]
        self._parts: list[Condition] = [config.instantiate(Condition) for _, config in parts]
        self.is_costly = any(part.is_costly for part in self._parts)

    def validate(self) -> Sequence[Problem]:
        """Return what is wrong with the parts."""
        if not self._parts:
            return [Problem(what="there are no conditions", where="conditions", fix="give at least one")]
        return [
            replace(problem, where=f"{key}.{problem.where}")
            for key, part in zip(self._keys, self._parts, strict=True)
            for problem in part.validate()
        ]

    def templates(self) -> Sequence[str]:
        """Return those of the parts."""
        return [text for part in self._parts for text in part.templates()]

    def entries(self) -> Sequence[str]:
        """Return those of the parts."""
        return [name for part in self._parts for name in part.entries()]


@dataclass(frozen=True, kw_only=True)
class ListConfig(PluginConfig):
    """Several conditions."""

    conditions: list[ConditionChoice] = option("the conditions")


@dataclass(frozen=True, kw_only=True)
class AndConfig(ListConfig):
    """All of these."""


class _Listed(_Combined):
    """What stands over a list of conditions."""

    def __init__(self, config: ListConfig) -> None:
        self.config = config
        super().__init__([(f"conditions.{number}", part) for number, part in enumerate(config.conditions)])


@register
class AndCondition(_Listed):
    """Holds while all of its conditions do."""

    config: AndConfig

    def __init__(self, config: AndConfig) -> None:
        super().__init__(config)
        self.needs_a_running_job = any(part.needs_a_running_job for part in self._parts)

    def requires(self) -> Sequence[str]:
        """Return those of all parts."""
        return [name for part in self._parts for name in part.requires()]

    def check(self, facts: Facts) -> Finding:
        """Ask for each."""
        return all_of(self._parts, facts)


@dataclass(frozen=True, kw_only=True)
class OrConfig(ListConfig):
    """Any of these."""


@register
class OrCondition(_Listed):
    """Holds while one of its conditions does."""

    config: OrConfig

    def __init__(self, config: OrConfig) -> None:
        super().__init__(config)
        self.needs_a_running_job = all(part.needs_a_running_job for part in self._parts)

    def check(self, facts: Facts) -> Finding:
        """Ask up to the first that holds."""
        return any_of(self._parts, facts)


@dataclass(frozen=True, kw_only=True)
class NotConfig(PluginConfig):
    """Not this."""

    condition: ConditionChoice = option("condition that must not hold")


@register
class NotCondition(_Combined):
    """Holds while its condition does not; what is not known is not known here either."""

    config: NotConfig

    def __init__(self, config: NotConfig) -> None:
        self.config = config
        super().__init__([("condition", config.condition)])

    def check(self, facts: Facts) -> Finding:
        """Turn the answer round."""
        finding = self._parts[0].check(facts)
        return replace(finding, holds=not finding.holds)
