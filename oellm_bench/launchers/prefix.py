"""What stands in front of a command on the node: srun, a prefix of the user's, and the environment it hands on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from oellm_bench.placeholders import value_text

# These take variables for the container from variables of their own: APPTAINERENV_X becomes X. Unlike --env that
# needs no place on the command line, and no value is split at its commas. Source: apptainer-exec(1).
_BY_VARIABLE = {"apptainer": "APPTAINERENV_", "singularity": "SINGULARITYENV_"}
# These take the names, and the values from their own environment. Source: docker-run(1), podman-run(1).
_BY_NAME = ("docker", "podman")
# These hand on what they have.
_ALL = ("srun", "env", "enroot", "pyxis")


def srun_argv(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return `srun --name=value ...`, nothing where no option is given."""
    if not options:
        return ()
    given = ((name.strip("-").replace("_", "-"), value) for name, value in options.items())
    return (
        "srun",
        *(
            f"--{name}" if value is True else f"--{name}={value_text(value)}"
            for name, value in given
            if value not in (None, False, "")
        ),
    )


def container_program(prefix: Sequence[str]) -> str:
    """Return the program of a launcher prefix that decides over the environment: apptainer, docker, srun, ..."""
    names = [PurePath(word).name for word in prefix]
    known = (*_BY_VARIABLE, *_BY_NAME)
    return next((name for name in names if name in known), names[0] if names else "")


def can_pass_environment(prefix: Sequence[str]) -> bool:
    """Tell whether it is known how a prefix hands the environment on."""
    return container_program(prefix) in ("", *_BY_VARIABLE, *_BY_NAME, *_ALL)


def with_environment(prefix: Sequence[str], environment: Mapping[str, str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Return the prefix and the variables to add, so that `environment` arrives behind the prefix."""
    program = container_program(prefix)
    if program in _BY_VARIABLE:
        marks = _BY_VARIABLE.values()  # either program may be a link to the other one
        return tuple(prefix), {f"{mark}{name}": value for name, value in environment.items() for mark in marks}
    if program in _BY_NAME:
        verb = next(i for i, word in enumerate(prefix) if word in ("run", "exec"))
        flags = [part for name in environment for part in ("--env", name)]
        return (*prefix[: verb + 1], *flags, *prefix[verb + 1 :]), {}
    return tuple(prefix), {}
