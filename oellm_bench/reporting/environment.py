"""Where a session ran, side by side with another session. Values of variables are left out."""

from __future__ import annotations

from collections.abc import Mapping

from oellm_bench.comparison.environment import Environment
from oellm_bench.reporting.report import EnvironmentReport, Fact


def environment_report(now: Environment, before: Environment | None, compared_with: str = "") -> EnvironmentReport:
    """Return the facts about a session's environment, beside those of another session where there is one."""
    if before is None:
        facts, packages = _side_by_side(_facts(now), None), _side_by_side(now.packages, None)
        return EnvironmentReport(facts=facts, packages=packages)
    # Where one of the two lists was not taken, nothing can be said about what came and went.
    comparable = before.packages if now.packages and before.packages else None
    return EnvironmentReport(
        facts=_side_by_side(_facts(now), _facts(before), "not known"),
        packages=_side_by_side(now.packages, comparable, "not there"),
        compared_with=compared_with,
    )


def _facts(environment: Environment) -> dict[str, str]:
    hardware = {"hardware": "; ".join(environment.hardware)} if environment.hardware else {}
    return {**hardware, **environment.software, **environment.places}


def _side_by_side(now: Mapping[str, str], before: Mapping[str, str] | None, absent: str = "") -> tuple[Fact, ...]:
    if before is None:
        return tuple(Fact(name=name, value=value) for name, value in now.items())
    names = dict.fromkeys([*now, *before])
    return tuple(Fact(name=n, value=now.get(n, absent), before=before.get(n, absent)) for n in names)
