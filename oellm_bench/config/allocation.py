"""What the job of an entry gets, as the configuration says it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePath

from oellm_bench.backends.arguments import to_argv
from oellm_bench.backends.base import BackendJobSpec
from oellm_bench.config.schema import Project
from oellm_bench.core.resources import Resources
from oellm_bench.launchers.base import Launcher, Place
from oellm_bench.launchers.host import HostLauncher
from oellm_bench.launchers.prefix import once_inside
from oellm_bench.launchers.pyxis import PyxisLauncher
from oellm_bench.rendering import directives as sbatch


def resources_of(project: Project) -> Resources:
    """Return what an entry asks for; the walltime follows from its time limit unless it is given."""
    wanted = sbatch.resources(project.slurm.sbatch, project.slurm.hetjob, walltime_s=0)
    overhead_s = project.slurm.cleanup_s + project.ray.overhead_s(wanted.nodes)
    return replace(wanted, walltime_s=wanted.walltime_s or round(project.project.timeout_s + overhead_s))


def backend_job_spec(project: Project) -> BackendJobSpec:
    """Return what the backend is told of the job."""
    resources = resources_of(project)
    on_a_node, on_all = (_count(project, name) for name in ("ntasks-per-node", "ntasks"))
    return BackendJobSpec(
        resources=resources,
        tasks_per_node=on_a_node or 1,
        tasks=on_all or on_a_node * resources.nodes,
        srun=project.slurm.srun,
        own_srun=_has_own_srun(project),
        contained=project.container.class_name != HostLauncher.__name__ or bool(project.slurm.launcher_cmd),
        heterogeneous=bool(project.slurm.hetjob),
        with_ray=project.ray.enabled,
        varying="-" in sbatch.value_of(project.slurm.sbatch, "nodes"),
        inside=functools.partial(_inside, project),
    )


def _count(project: Project, name: str) -> int:
    text = sbatch.value_of(project.slurm.sbatch, name)
    return int(text) if text.isdecimal() else 0


def _has_own_srun(project: Project) -> bool:
    srun = any(PurePath(word).name == "srun" for word in _launcher_words(project))
    return srun or project.container.class_name == PyxisLauncher.__name__


def _launcher_words(project: Project) -> tuple[str, ...]:
    try:
        return to_argv(project.slurm.launcher_cmd)
    except ValueError:
        return ()  # told where it stands


def _inside(project: Project, folders: Sequence[str]) -> tuple[str, ...]:
    container: Launcher = project.container.instantiate(Launcher)
    prefix = container.prefix(Place(cwd=folders[0], readable=tuple(folders)))
    program = once_inside((*_launcher_words(project), *prefix))
    return () if program[:1] == ("srun",) else program
