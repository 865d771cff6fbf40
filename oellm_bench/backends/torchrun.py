"""Run a PyTorch script as one process for each GPU."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from compoconf import register

from oellm_bench.backends.arguments import Arguments, to_argv
from oellm_bench.backends.base import Backend, BackendJobSpec
from oellm_bench.backends.distributed import DistributedConfig, distributed_argv, distributed_problems
from oellm_bench.backends.progress import progress_problems
from oellm_bench.backends.resume import ResumeConfig
from oellm_bench.backends.script import script_problems
from oellm_bench.core.launch import LaunchCommand
from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.errors import Problem
from oellm_bench.placeholders import value_text


@dataclass(frozen=True, kw_only=True)
class TorchrunBackendConfig(PluginConfig):
    """A script or a module, its arguments, and how its processes are started."""

    script: str = option("path of the script, absolute or below script_base_dir", "")
    script_base_dir: str = option("folder that a relative script path starts from", ".")
    module: str = option("a module to run instead, as python -m does", "")
    args: Arguments = option("arguments: mapping {n: 1} is --n 1; list; line", factory=dict)
    distributed: DistributedConfig = option("how many processes, and who starts them", factory=DistributedConfig)
    python: str = option(
        "interpreter where torchrun brings none; empty: the one that runs oellm-bench, or the image's python3", ""
    )
    environment: dict[str, str | int | float | bool] = option("environment of the processes", factory=dict)
    cwd: str = option("folder to run in; empty: where the campaign was submitted", "")
    progress: str = option(
        "regular expression with a group `iteration` for lines that tell how far it is; other groups are kept too", ""
    )
    resume: ResumeConfig = option("how a restart goes on from a checkpoint", factory=ResumeConfig)


@register
class TorchrunBackend(Backend):
    """A script under torchrun, on one node or many, or under srun."""

    config: TorchrunBackendConfig

    def __init__(self, config: TorchrunBackendConfig) -> None:
        self.config = config

    def validate(self, spec: BackendJobSpec) -> Sequence[Problem]:
        """Check that there is one thing to run, and that all of its processes would be started."""
        problems = [*self._program_problems(spec)]
        try:
            to_argv(self.config.args)
        except ValueError as err:
            problems.append(Problem(what=str(err), where="args", fix="give words, numbers or booleans"))
        return [
            *problems,
            *distributed_problems(self.config.distributed, spec),
            *progress_problems(self.config.progress),
            *self.config.resume.problems(),
        ]

    def build_launch_command(self, spec: BackendJobSpec) -> LaunchCommand:
        """Return the launcher's command with the script or module and its arguments."""
        program = ("-m", self.config.module) if self.config.module else (str(self._script),)
        argv = (*program, *to_argv(self.config.args))
        return LaunchCommand(
            argv=distributed_argv(self.config.distributed, spec, argv, self.config.python),
            environment={name: value_text(value) for name, value in self.config.environment.items()},
            cwd=self.config.cwd,
            reads=(str(self._script.parent),) if self.config.script else (),
            progress=self.config.progress,
            resume=self.config.resume.resume(),
        )

    def _program_problems(self, spec: BackendJobSpec) -> Iterator[Problem]:
        if bool(self.config.script) == bool(self.config.module):
            what = "there is nothing to run" if not self.config.script else "a script and a module are two commands"
            yield Problem(what=what, where="script", fix="give backend.script or backend.module")
        elif self.config.script:
            yield from script_problems(self._script, spec)

    @property
    def _script(self) -> Path:
        # Absolute, because the job may start in another folder than the one it was planned in.
        return Path(self.config.script_base_dir).absolute() / self.config.script
