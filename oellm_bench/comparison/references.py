"""Requirements that are relative to the baseline, with its values: frozen when a campaign is planned."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from oellm_bench.comparison.baseline import read_baseline
from oellm_bench.comparison.samples import Measured, measured
from oellm_bench.core.layout import StateLayout
from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.core.requirement import Requirement
from oellm_bench.errors import BenchError
from oellm_bench.session import read_session

_log = logging.getLogger(__name__)


def with_references(plan: Plan, state: StateLayout) -> Plan:
    """Return the plan with the baseline's medians in the place of `baseline`.

    Where there is no baseline, or it lacks the metric, that is said, and the requirement stays as it is: not judged.
    """
    if not any(requirement.is_open for entry in plan.entries for requirement in entry.requirements):
        return plan
    baseline = _baseline(plan.project, state)
    missing: dict[str, None] = {}
    entries = tuple(_resolved(entry, baseline, missing) for entry in plan.entries)
    if baseline is not None and missing:
        _log.warning("baseline %s has no %s: not judged", baseline.session.id, ", ".join(missing))
    return replace(plan, entries=entries)


def _baseline(project: str, state: StateLayout) -> Measured | None:
    try:
        chosen = read_baseline(state, project)
        if chosen is None:
            fix = "`oellm-bench baseline set SESSION` chooses one"
            _log.warning("'%s' has no baseline: requirements relative to it are not judged; %s", project, fix)
            return None
        return measured(read_session(Path(chosen.session_dir)))
    except BenchError as err:
        _log.warning("the baseline cannot be read, requirements relative to it are not judged: %s", err)
        return None


def _resolved(entry: PlannedEntry, baseline: Measured | None, missing: dict[str, None]) -> PlannedEntry:
    if baseline is None or not any(requirement.is_open for requirement in entry.requirements):
        return entry
    group = entry.group or entry.name
    found: list[Requirement] = []
    for requirement in entry.requirements:
        value = baseline.median(group, requirement.metric) if requirement.is_open else None
        if requirement.is_open and value is None:
            missing[f"{requirement.metric} of {group}"] = None
        found.append(requirement if value is None else _with_value(requirement, value, baseline.session.id))
    return replace(entry, requirements=tuple(found))


def _with_value(requirement: Requirement, value: float, session: str) -> Requirement:
    reference = requirement.relative
    assert reference is not None
    parts = [value, reference.lower, reference.upper, reference.unit]
    return replace(requirement, reference=parts, reference_session=session)
