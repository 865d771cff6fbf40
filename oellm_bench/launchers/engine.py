"""Run the command in an OCI image with podman or docker, where there is nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from compoconf import register

from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.errors import Problem
from oellm_bench.launchers.base import Launcher, Place
from oellm_bench.launchers.binds import all_binds, bind_problems, mount_text


@dataclass(frozen=True, kw_only=True)
class EngineConfig(PluginConfig):
    """An image, and what of the node is seen inside."""

    image: str = option("the image, as the engine names it")
    program: Literal["podman", "docker"] = option("the engine", "podman")
    binds: list[str] = option("paths seen inside: SRC, SRC:DST or SRC:DST:ro", factory=list)
    gpus: bool = option("NVIDIA GPUs inside (CDI with podman, --gpus all with docker)", False)
    pwd: str = option("working folder inside; empty: the entry's own", "")
    extra_flags: list[str] = option("further flags of run", factory=list)


@register
class EngineLauncher(Launcher):
    """`podman run` or `docker run`: removed when it ends, with an init that passes signals on."""

    config: EngineConfig
    isolates = True

    def __init__(self, config: EngineConfig) -> None:
        self.config = config

    def validate(self) -> Sequence[Problem]:
        """Refuse binds that are none."""
        problems = list(bind_problems(self.config.binds))
        if not self.config.image:
            problems.append(Problem(what="there is no image", where="image", fix="give its name"))
        return problems

    def prefix(self, place: Place) -> tuple[str, ...]:
        """Return the command line up to the image; files are written as the user who runs the job."""
        config = self.config
        flags = ["--rm", "--init", "--network=host", "--ipc=host"]
        flags += ["--userns=keep-id"] if config.program == "podman" else []
        if config.gpus:
            flags += ["--device=nvidia.com/gpu=all"] if config.program == "podman" else ["--gpus=all"]
        for bind in all_binds(place, config.binds):
            flags += ["--mount", mount_text(bind)]
        flags += ["--workdir", config.pwd or place.cwd]
        return (config.program, "run", *flags, *config.extra_flags, config.image)
