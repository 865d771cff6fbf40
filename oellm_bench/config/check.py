"""What a typed configuration can still get wrong: every problem of a point, with file and line."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from oellm_bench.actions.base import Action
from oellm_bench.backends.arguments import to_argv
from oellm_bench.backends.base import Backend
from oellm_bench.conditions.base import Condition
from oellm_bench.config.allocation import backend_job_spec
from oellm_bench.config.project import ConfiguredPoint
from oellm_bench.config.schema import Project
from oellm_bench.config.sharing import sharing_problems
from oellm_bench.core.metric import metric_problems
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.core.requirement import requirement_problems
from oellm_bench.core.result import ErrorMode
from oellm_bench.errors import ConfigError, Problem, nearest
from oellm_bench.launchers.base import Launcher
from oellm_bench.launchers.prefix import can_pass_environment, container_program
from oellm_bench.monitoring.signals import signal_problems
from oellm_bench.monitoring.signatures import signature_problems
from oellm_bench.naming import check_name, check_template, link_problems
from oellm_bench.rendering import directives as sbatch
from oellm_bench.restart.base import RestartPolicy
from oellm_bench.schedulers.base import Scheduler
from oellm_bench.shell import SHORTEST_SECRET, is_secret_name
from oellm_bench.simulation.settings import simulation_problems
from oellm_bench.sinks.base import Sink

_ABOVE_ZERO = {
    "project": ("timeout_s",),
    "ray": ("startup_timeout_s", "start_attempts"),
    "monitoring": ("action_timeout_s", "action_attempts"),
    "slurm": ("max_parallel",),
    "capture": ("interval_s",),
    "restart": ("window_s", "backoff_factor", "backoff_most_s"),
    "restart.bad_nodes": ("threshold", "half_life_s"),
}
_FROM_ZERO = {
    "project": ("confirm_gpu_hours",),
    "slurm": ("cleanup_s",),
    "restart": (
        "max_restarts",
        "window_restarts",
        "stop_without_progress",
        "backoff_s",
        "max_failed_share",
        "brake_after",
    ),
    "restart.bad_nodes": ("most", "most_share"),
    "ray": ("num_cpus", "num_gpus", "object_store_bytes", "object_store_share"),
    "monitoring": ("interval_s", "missing_grace_s", "inactivity_s", "startup_s", "progress_s"),
}


_LONGEST_INTERVAL_S = 3600.0


def problems_of(point: ConfiguredPoint, checked: set[int]) -> list[Problem]:
    """Validate what this point does not share with points before it; `checked` holds ids of checked parts."""
    project, found = point.project, []
    checks = (
        (project.project, "", lambda: _project_problems(project)),
        (project.backend, "backend", lambda: _backend_problems(project)),
        (project.slurm, "backend", lambda: _backend_problems(project)),  # what it may use of the job is new
        (project.container, "container", lambda: project.container.instantiate(Launcher).validate()),
        (project.slurm, "slurm.sbatch", lambda: sbatch.check(project.slurm.sbatch)),
        (project.slurm, "slurm.monitor_job", lambda: sbatch.check(project.slurm.monitor_job)),
        (project.slurm, "slurm.srun", lambda: sbatch.check_srun(project.slurm.srun)),
        (
            project.slurm,
            "slurm.hetjob",
            lambda: sbatch.check_components(project.slurm.hetjob, array=project.slurm.array),
        ),
        (project.slurm, "", lambda: _slurm_problems(project)),
        (project.backend, "", lambda: _environment_problems("backend", getattr(project.backend, "environment", {}))),
        (project.slurm.client, "", lambda: _client_problems(project)),
        (project.sinks, "", lambda: _sink_problems(project)),
        (project.sink_data, "", lambda: _sink_data_problems(point)),
        (project.requirements, "", lambda: requirement_problems(project.requirements)),
        (project.metrics, "", lambda: metric_problems(project.metrics)),
        (project.restart, "", lambda: _restart_problems(project)),
        (project.monitoring, "", lambda: _monitoring_problems(project)),
        (project.ray, "", lambda: _number_problems("ray", project.ray)),
        (project.ray, "", lambda: sharing_problems(project)),
        (project.slurm, "", lambda: sharing_problems(project)),  # which of its parts is new does not matter
        (project.container, "", lambda: sharing_problems(project)),
        (project.capture, "", lambda: _capture_problems(project)),
        (project.simulation, "", lambda: simulation_problems(project.simulation)),
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


def _backend_problems(project: Project) -> Sequence[Problem]:
    if any(sbatch.check(project.slurm.sbatch)):
        return ()  # the job is not known, and that is told already
    problems: Sequence[Problem] = project.backend.instantiate(Backend).validate(backend_job_spec(project))
    return problems


def _project_problems(project: Project) -> list[Problem]:
    return [
        *check_name(project.project.name, "project.name"),
        *check_template(project.sweep.name_template),
        *link_problems(project.project.links),
        *_number_problems("project", project.project),
    ]


def _plugin_problems(config: PluginConfig, where: str, interface: Any) -> Iterator[Problem]:
    """Yield why a condition or an action cannot be made, else what it says against its own values."""
    unusable = [*_unusable(config, where, interface)]
    yield from unusable
    for problem in () if unusable else config.instantiate(interface).validate():
        yield replace(problem, where=f"{where}.{problem.where}")


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
    problems, slurm = _number_problems("slurm", project.slurm), project.slurm
    try:
        prefix = to_argv(slurm.launcher_cmd)
    except ValueError as err:
        fix = "give words, and close every quote"
        problems.append(Problem(what=str(err), where="slurm.launcher_cmd", fix=fix))
    else:
        if slurm.launcher_env_passthrough and not can_pass_environment(prefix):
            what = f"it is not known how '{container_program(prefix)}' takes variables"
            fix = "name the variables in slurm.launcher_cmd itself, and take this out"
            problems.append(Problem(what=what, where="slurm.launcher_env_passthrough", fix=fix))
    return [*problems, *_environment_problems("slurm", project.slurm.environment)]


def _environment_problems(section: str, environment: Mapping[str, Any]) -> list[Problem]:
    """Return the names that no process can be given, and those whose values must not be written down."""
    where = f"{section}.environment"
    names = [
        Problem(what=f"'{name}' can name no variable", where=where, fix="write NAME: VALUE")
        for name in environment
        if not name or "=" in name
    ]
    secrets = [
        Problem(
            what=f"'{name}' looks like a secret, and its value would be written to disk",
            where=f"{where}.{name}",
            fix="take it out and export it where you submit: jobs inherit that environment",
        )
        for name, value in environment.items()
        if is_secret_name(name) and len(str(value)) >= SHORTEST_SECRET
    ]
    return [*names, *secrets]


def _restart_problems(project: Project) -> list[Problem]:
    modes = [mode.value for mode in ErrorMode]
    policies = project.restart.restart_policies
    unusable = [
        problem
        for index, item in enumerate(policies)
        for problem in _unusable(item.implementation, f"restart.restart_policies.{index}.implementation", RestartPolicy)
    ]
    numbers = [
        *_number_problems("restart", project.restart),
        *_number_problems("restart.bad_nodes", project.restart.bad_nodes),
    ]
    if any(item.how == "requeue" for item in policies) and not sbatch.value_of(project.slurm.sbatch, "requeue"):
        fix = "set slurm.sbatch.requeue: true"
        what = "how: requeue is asked for, and jobs are submitted with --no-requeue"
        numbers.append(Problem(what=what, where="restart.restart_policies", fix=fix))
    return [*numbers, *unusable] + [
        Problem(
            what=f"'{item.mode}' is no error mode",
            where=f"restart.restart_policies.{index}.mode",
            fix=f"valid: {', '.join(modes)}",
        )
        for index, item in enumerate(policies)
        if item.mode not in modes
    ]


def _capture_problems(project: Project) -> list[Problem]:
    found = _number_problems("capture", project.capture)
    if project.capture.interval_s > _LONGEST_INTERVAL_S:
        what = f"{project.capture.interval_s:g} s between two heartbeats cannot work"
        found.append(Problem(what=what, where="capture.interval_s", fix=f"give at most {_LONGEST_INTERVAL_S:g}"))
    if project.monitoring.progress_s and not (getattr(project.backend, "progress", "") and project.capture.enabled):
        fix = "set backend.progress, and leave capture.enabled on"
        found.append(Problem(what="nobody tells of progress", where="monitoring.progress_s", fix=fix))
    return found


def _client_problems(project: Project) -> list[Problem]:
    """Return why the client cannot be made; making one touches no disk, so the folder may be any."""
    return [*_unusable(project.slurm.client, "slurm.client", Scheduler, Path(project.project.base_output_dir))]


def _sink_problems(project: Project) -> list[Problem]:
    found = []
    for name, sink in project.sinks.items():
        found += [*_unusable(sink, f"sinks.{name}", Sink)]
        for field, least in (("timeout_s", "above 0"), ("drain_s", "0 or more")):
            value = getattr(sink, field, 1.0)
            if value < 0 or (value == 0 and field == "timeout_s"):
                fix = f"give a number {least}"
                found.append(Problem(what=f"{value:g} cannot work", where=f"sinks.{name}.{field}", fix=fix))
    return found


def _sink_data_problems(point: ConfiguredPoint) -> list[Problem]:
    """Return what is meant for sinks that are not there, unless all are left out (`-o sinks=none`).

    An entry of a matrix has a name of its own, and may speak of sinks that `--sink` leaves out.
    """
    project = point.project
    if point.name or not project.sinks:
        return []
    return [
        Problem(
            what=f"there is no sink '{name}' to be told this",
            where=f"sink_data.{name}",
            fix=nearest(name, [*project.sinks]),
        )
        for name in project.sink_data
        if name not in project.sinks
    ]


def _unusable(config: PluginConfig, where: str, interface: Any, *arguments: Any) -> Iterator[Problem]:
    """Make the implementation as a session would, and yield what it says against its configuration."""
    try:
        config.instantiate(interface, *arguments)
    except ConfigError as err:
        for problem in err.problems:
            inner = re.sub(r"\[(\d+)\]", r".\1", problem.where)
            yield replace(problem, where=inner if inner.startswith(where) else ".".join(filter(None, (where, inner))))
    except (ImportError, LookupError, OSError, TypeError, ValueError) as err:
        yield Problem(what=f"{config.class_name} cannot be made ({err})", where=where, fix="correct its values")


def _monitoring_problems(project: Project) -> list[Problem]:
    settings = project.monitoring
    problems = [
        *_number_problems("monitoring", settings),
        *signal_problems(settings),
        *signature_problems(settings.signatures),
    ]
    for name, config in settings.actions.items():
        problems += _plugin_problems(config, f"monitoring.actions.{name}", Action)
    for kind in ("start_conditions", "cancel_conditions"):
        for number, config in enumerate(getattr(settings, kind)):
            where = f"monitoring.{kind}.{number}"
            found = [*_plugin_problems(config, where, Condition)]
            if not found and kind == "start_conditions" and config.instantiate(Condition).needs_a_running_job:
                what = "a job has to run for this to hold, and none does before it starts"
                found.append(Problem(what=what, where=where, fix="ask for something else, or in cancel_conditions"))
            problems += found
    if settings.class_name == "NullMonitor" and settings.inactivity_s > 0:
        what = f"NullMonitor reads no logs, so {settings.inactivity_s:g} s of silence cannot be noticed"
        fix = "set it to 0, or use SlurmLogMonitor"
        problems.append(Problem(what=what, where="monitoring.inactivity_s", fix=fix))
    return problems
