"""Whether entries can share a Ray head: only where all of them run on one machine, this one."""

from __future__ import annotations

from collections.abc import Iterator

from oellm_bench.config.schema import Project
from oellm_bench.errors import Problem
from oellm_bench.launchers.host import HostLauncher

_WHERE, _FIX = "ray.reuse", "leave ray.reuse out"
_EMBEDDED = "FakeSlurmClient"  # by its name: what is only checked is not imported


def sharing_problems(project: Project) -> list[Problem]:
    """Return why the entries of a point cannot use one head for all, where they are to."""
    return list(_problems(project)) if project.ray.enabled and project.ray.reuse else []


def _problems(project: Project) -> Iterator[Problem]:
    slurm = project.slurm
    if slurm.client.class_name != _EMBEDDED:
        what = "one Ray head for all entries needs all of them on this machine, and jobs land on different nodes"
        yield Problem(what=what, where=_WHERE, fix=f"{_FIX}, so that each has a head of its own, or run it here")
    elif slurm.max_submit != 1 and getattr(slurm.client, "nodes", 1) != 1:
        what = "one Ray head for all entries needs all of them on one node"
        fix = f"set slurm.max_submit: 1 or slurm.client.nodes: 1, or {_FIX}"
        yield Problem(what=what, where=_WHERE, fix=fix)
    if project.container.class_name != HostLauncher.__name__ or slurm.launcher_cmd or slurm.srun:
        what = "a command behind a launcher, or in a container, cannot use a Ray head outside of it"
        yield Problem(what=what, where=_WHERE, fix=f"{_FIX}, or run the entries without one")
