"""What a typed configuration can still get wrong: every problem of a point, with file and line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from oellm_bench.backends.arguments import to_argv
from oellm_bench.backends.base import Backend
from oellm_bench.config.project import ConfiguredPoint
from oellm_bench.config.schema import Project
from oellm_bench.core.result import ErrorMode
from oellm_bench.errors import Problem
from oellm_bench.launchers.base import Launcher
from oellm_bench.monitoring.signals import signal_problems
from oellm_bench.naming import check_name, check_template
from oellm_bench.rendering import directives as sbatch
from oellm_bench.shell import SHORTEST_SECRET, is_secret_name

_ABOVE_ZERO = {
    "project": ("timeout_s",),
    "ray": ("object_store_bytes", "startup_timeout_s", "start_attempts"),
    "monitoring": ("action_timeout_s", "action_attempts"),
    "slurm": ("max_parallel",),
}
_FROM_ZERO = {
    "project": ("confirm_gpu_hours",),
    "slurm": ("cleanup_s",),
    "restart": ("max_restarts",),
    "ray": ("num_cpus", "num_gpus"),
    "monitoring": ("interval_s", "missing_grace_s", "inactivity_s", "startup_s"),
}


def problems_of(point: ConfiguredPoint, checked: set[int]) -> list[Problem]:
    """Validate what this point does not share with points before it; `checked` holds ids of checked parts."""
    project, found = point.project, []
    checks = (
        (project.project, "", lambda: _project_problems(project)),
        (project.backend, "backend", lambda: project.backend.instantiate(Backend).validate()),
        (project.container, "container", lambda: project.container.instantiate(Launcher).validate()),
        (project.slurm, "slurm.sbatch", lambda: sbatch.check(project.slurm.sbatch)),
        (project.slurm, "", lambda: _slurm_problems(project)),
        (project.backend, "", lambda: _secret_problems("backend", getattr(project.backend, "environment", {}))),
        (project.requirements, "", lambda: _requirement_problems(project)),
        (project.restart, "", lambda: _restart_problems(project)),
        (project.monitoring, "", lambda: _monitoring_problems(project)),
        (project.ray, "", lambda: _number_problems("ray", project.ray)),
    )
    for part, section, check in checks:
        if id(part) in checked:
            continue
        for problem in check():
            key = ".".join(filter(None, (section, problem.where)))
            found.append(replace(problem, where=point.variant.provenance.where(key)))
    if not found:
        checked.update(id(part) for part, _, _ in checks)
    return found


def _project_problems(project: Project) -> list[Problem]:
    return [
        *check_name(project.project.name, "project.name"),
        *check_template(project.sweep.name_template),
        *_number_problems("project", project.project),
    ]


def _number_problems(section: str, part: Any) -> list[Problem]:
    """Return the numbers of a section that are too small to work."""
    bounds: tuple[tuple[Mapping[str, tuple[str, ...]], str, Any], ...] = (
        (_ABOVE_ZERO, "above 0", lambda value: value > 0),
        (_FROM_ZERO, "0 or more", lambda value: value >= 0),
    )
    return [
        Problem(what=f"{getattr(part, field)} cannot work", where=f"{section}.{field}", fix=f"give a number {text}")
        for fields, text, holds in bounds
        for field in fields.get(section, ())
        if getattr(part, field) is not None and not holds(getattr(part, field))
    ]


def _slurm_problems(project: Project) -> list[Problem]:
    problems = _number_problems("slurm", project.slurm)
    try:
        to_argv(project.slurm.launcher_cmd)
    except ValueError as err:
        fix = "give words, and close every quote"
        problems.append(Problem(what=str(err), where="slurm.launcher_cmd", fix=fix))
    return [*problems, *_secret_problems("slurm", project.slurm.environment)]


def _secret_problems(section: str, environment: Mapping[str, Any]) -> list[Problem]:
    return [
        Problem(
            what=f"'{name}' looks like a secret, and its value would be written to disk",
            where=f"{section}.environment.{name}",
            fix="take it out and export it where you submit: jobs inherit that environment",
        )
        for name, value in environment.items()
        if is_secret_name(name) and len(str(value)) >= SHORTEST_SECRET
    ]


def _requirement_problems(project: Project) -> list[Problem]:
    problems = []
    for index, bound in enumerate(project.requirements):
        low, high, where = bound.min_value, bound.max_value, f"requirements.{index}"
        if bound.exact_value is not None and (low, high) != (None, None):
            problems.append(Problem(what="exact_value stands beside another bound", where=where, fix="keep one"))
        if low is not None and high is not None and low > high:
            what = f"min_value {low} is above max_value {high}"
            problems.append(Problem(what=what, where=where, fix="no value can meet both"))
    return problems


def _restart_problems(project: Project) -> list[Problem]:
    modes = [mode.value for mode in ErrorMode]
    return _number_problems("restart", project.restart) + [
        Problem(
            what=f"'{item.mode}' is no error mode",
            where=f"restart.restart_policies.{index}.mode",
            fix=f"valid: {', '.join(modes)}",
        )
        for index, item in enumerate(project.restart.restart_policies)
        if item.mode not in modes
    ]


def _monitoring_problems(project: Project) -> list[Problem]:
    return [*_number_problems("monitoring", project.monitoring), *signal_problems(project.monitoring)]
