"""What the job of an entry gets, as the configuration says it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath

from oellm_bench.backends.arguments import to_argv
from oellm_bench.backends.base import BackendJobSpec
from oellm_bench.config.schema import Project
from oellm_bench.core.resources import Resources
from oellm_bench.launchers.host import HostLauncher
from oellm_bench.launchers.pyxis import PyxisLauncher
from oellm_bench.rendering import directives as sbatch


def resources_of(project: Project) -> Resources:
    """Return what an entry asks for; the walltime follows from its time limit unless it is given."""
    wanted = sbatch.resources(project.slurm.sbatch, project.slurm.hetjob, walltime_s=0)
    overhead_s = project.slurm.cleanup_s + project.ray.overhead_s(wanted.nodes)
    return replace(wanted, walltime_s=wanted.walltime_s or round(project.project.timeout_s + overhead_s))


def backend_job_spec(project: Project) -> BackendJobSpec:
    """Return what the backend is told of the job."""
    tasks = sbatch.value_of(project.slurm.sbatch, "ntasks-per-node")
    return BackendJobSpec(
        resources=resources_of(project),
        tasks_per_node=int(tasks) if tasks.isdecimal() else 1,
        srun=project.slurm.srun,
        own_srun=_has_own_srun(project),
        contained=project.container.class_name != HostLauncher.__name__ or bool(project.slurm.launcher_cmd),
        heterogeneous=bool(project.slurm.hetjob),
    )


def _has_own_srun(project: Project) -> bool:
    try:
        launcher = to_argv(project.slurm.launcher_cmd)
    except ValueError:
        launcher = ()  # told where it stands
    srun = any(PurePath(word).name == "srun" for word in launcher)
    return srun or project.container.class_name == PyxisLauncher.__name__
