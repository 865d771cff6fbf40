"""What stands in front of a command on the node: srun, a prefix of the user's, and the environment it hands on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath

from oellm_bench import shell

# These take variables for the container from variables of their own: APPTAINERENV_X becomes X. Unlike --env that
# needs no place on the command line, and no value is split at its commas. Source: apptainer-exec(1).
_BY_VARIABLE = {"apptainer": "APPTAINERENV_", "singularity": "SINGULARITYENV_"}
# These take the names, and the values from their own environment. Source: docker-run(1), podman-run(1).
_BY_NAME = ("docker", "podman")
_RUNNING = (("run",), ("exec",))
# These hand on what they have.
_ALL = ("srun", "env", "enroot", "pyxis")


def on_every_node(prefix: Sequence[str], nodes: int) -> tuple[str, ...]:
    """Return the prefix behind an srun that starts one task on each node; what the prefix gives srun comes last
    and wins.

    Source: srun(1): without --overlap it would wait for the job's other steps, with an --export of the job's own it
    would hand nothing on.
    """
    step = ("srun", "--overlap", f"--nodes={nodes}", f"--ntasks={nodes}", "--ntasks-per-node=1")
    options = ("--cpu-bind=none", "--kill-on-bad-exit=1", "--export=ALL")
    return (*step, *options, *(prefix[1:] if prefix[:1] == ("srun",) else prefix))


def once_inside(prefix: Sequence[str]) -> tuple[str, ...]:
    """Return the prefix that runs something once, on this node, in the container of `prefix`; empty without one.

    What stands before the container's program would start it many times (srun, mpirun).
    """
    index = _container(prefix)
    if index is not None:
        return tuple(prefix[index:])
    options = [word for word in prefix if word.startswith(("--container", "--no-container"))]
    return ("srun", "--overlap", "--nodes=1", "--ntasks=1", *options) if options else ()


def container_program(prefix: Sequence[str]) -> str:
    """Return the program of a launcher prefix that decides over the environment: apptainer, docker, srun, ..."""
    return PurePath(prefix[_container(prefix) or 0]).name if prefix else ""


def _container(prefix: Sequence[str]) -> int | None:
    """Return where in a prefix the container's program stands; an engine's only where it runs something."""
    for index, word in enumerate(prefix):
        name, following = PurePath(word).name, tuple(prefix[index + 1 : index + 2])
        if not word.startswith("-") and (name in _BY_VARIABLE or (name in _BY_NAME and following in _RUNNING)):
            return index
    return None


def can_pass_environment(prefix: Sequence[str]) -> bool:
    """Tell whether it is known how a prefix hands the environment on."""
    return _container(prefix) is not None or container_program(prefix) in ("", *_ALL)


def with_environment(
    prefix: Sequence[str], environment: Mapping[str, str], of_the_job: Mapping[str, str]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the prefix and the variables to add, so that both sets of variables arrive behind the prefix.

    `of_the_job`: those that srun gives other values in each of its tasks.
    """
    index = _container(prefix)
    if index is None:
        return tuple(prefix), {}
    if container_program(prefix) in _BY_VARIABLE:
        handed = {**environment, **of_the_job}
        if any(PurePath(word).name == "srun" for word in prefix[:index]):
            names = [name for name in of_the_job if not name.startswith("SLURM_")]
            prefix = (*prefix[:index], *shell.exporting(_BY_VARIABLE.values(), "SLURM_", names), *prefix[index:])
            handed = dict(environment)
        marks = _BY_VARIABLE.values()  # either program may be a link to the other one
        return tuple(prefix), {f"{mark}{name}": value for name, value in handed.items() for mark in marks}
    flags = [part for name in {**environment, **of_the_job} for part in ("--env", name)]
    return (*prefix[: index + 2], *flags, *prefix[index + 2 :]), {}
