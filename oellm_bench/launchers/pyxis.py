"""Run the command in an enroot image, by srun's own container options (the pyxis plug-in)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compoconf import register

from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.errors import Problem
from oellm_bench.launchers.base import Launcher, Place
from oellm_bench.launchers.binds import all_binds, bind_problems


@dataclass(frozen=True, kw_only=True)
class PyxisConfig(PluginConfig):
    """An image, and what of the node is seen inside."""

    image: str = option("the image: a .sqsh file, or one that enroot can import")
    binds: list[str] = option("paths seen inside: SRC, SRC:DST or SRC:DST:ro", factory=list)
    home: bool = option("the user's home folder inside", False)
    pwd: str = option("working folder inside; empty: the entry's own", "")
    extra_flags: list[str] = option("further options of srun, e.g. --container-name=x", factory=list)


@register
class PyxisLauncher(Launcher):
    """`srun --container-image`: SLURM starts the container itself, and ends it with the step.

    Source: the pyxis README and `srun --help` with the plug-in.
    """

    config: PyxisConfig

    def __init__(self, config: PyxisConfig) -> None:
        self.config = config

    def validate(self) -> Sequence[Problem]:
        """Refuse binds that are none, and paths that pyxis cannot be told."""
        problems = list(bind_problems(self.config.binds))
        for number, text in enumerate(self.config.binds):
            if "," in text:
                fix = "choose a path without one: pyxis separates mounts by commas"
                problems.append(Problem(what=f"'{text}' has a comma", where=f"binds.{number}", fix=fix))
        if not self.config.image:
            problems.append(Problem(what="there is no image", where="image", fix="give the path of a .sqsh file"))
        return problems

    def image(self) -> str:
        """Return the image where it is a path."""
        return self.config.image if self.config.image.startswith(("/", "./")) else ""

    def prefix(self, place: Place) -> tuple[str, ...]:
        """Return srun with the container's options."""
        config = self.config
        mounts = [
            f"{bind.source}:{bind.target}{':ro' if bind.read_only else ''}" for bind in all_binds(place, config.binds)
        ]
        return (
            "srun",
            f"--container-image={config.image}",
            f"--container-mounts={','.join(mounts)}",
            f"--container-workdir={config.pwd or place.cwd}",
            "--container-mount-home" if config.home else "--no-container-mount-home",
            *config.extra_flags,
        )
