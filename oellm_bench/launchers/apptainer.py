"""Run the command in an Apptainer (or SingularityCE) image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compoconf import register

from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.errors import Problem
from oellm_bench.launchers.base import Launcher, Place
from oellm_bench.launchers.binds import all_binds, bind_problems, mount_text

PROGRAMS = ("apptainer", "singularity")


@dataclass(frozen=True, kw_only=True)
class ApptainerConfig(PluginConfig):
    """An image, and what of the node is seen inside."""

    image: str = option("the image: a .sif file or a sandbox folder")
    program: str = option("the program: apptainer or singularity", "apptainer")
    binds: list[str] = option("paths seen inside: SRC, SRC:DST or SRC:DST:ro", factory=list)
    nv: bool = option("NVIDIA GPUs and their driver inside", False)
    rocm: bool = option("AMD GPUs and their driver inside", False)
    cleanenv: bool = option("only variables of the entry, of SLURM and of environment_passthrough inside", False)
    contain: bool = option(
        "nothing of the node inside but what is bound: no home, an empty /tmp, its own /dev/shm", False
    )
    home: bool = option("the user's home folder inside", False)
    pwd: str = option("working folder inside; empty: the entry's own", "")
    writable_tmpfs: bool = option("let the command write to the image, into memory, until it ends", False)
    environment_passthrough: list[str] = option(
        "names of variables of the job to hand on in spite of cleanenv", factory=list
    )
    extra_flags: list[str] = option("further flags of exec", factory=list)


@register
class ApptainerLauncher(Launcher):
    """`apptainer exec`, in a process namespace of its own: all that the command starts ends with it."""

    config: ApptainerConfig
    isolates = True

    def __init__(self, config: ApptainerConfig) -> None:
        self.config = config

    def validate(self) -> Sequence[Problem]:
        """Refuse binds that are none, and GPUs of two makers."""
        problems = list(bind_problems(self.config.binds))
        if not self.config.image:
            problems.append(Problem(what="there is no image", where="image", fix="give the path of a .sif file"))
        if self.config.nv and self.config.rocm:
            problems.append(Problem(what="nv and rocm exclude each other", where="rocm", fix="take one out"))
        return problems

    def image(self) -> str:
        """Return the image where it is a path; a URI is fetched by the runtime."""
        return "" if "://" in self.config.image else self.config.image

    def prefix(self, place: Place) -> tuple[str, ...]:
        """Return the command line up to the image."""
        config = self.config
        # Without --pid a killed exec leaves its children behind, and so does a daemon that left its session.
        flags = ["--pid"]
        flags += ["--containall", "--no-mount", "cwd"] if config.contain else []
        flags += [] if config.home or config.contain else ["--no-home"]
        flags += ["--cleanenv"] if config.cleanenv else []
        flags += ["--nv"] if config.nv else []
        flags += ["--rocm"] if config.rocm else []
        flags += ["--writable-tmpfs"] if config.writable_tmpfs else []
        for bind in all_binds(place, config.binds):
            flags += ["--mount", mount_text(bind)]
        flags += ["--pwd", config.pwd or place.cwd]
        return (config.program, "--quiet", "exec", *flags, *config.extra_flags, config.image)
