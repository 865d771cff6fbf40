"""Run a command as it is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from compoconf import register

from oellm_bench.backends.arguments import Arguments, to_argv
from oellm_bench.backends.base import Backend, BackendJobSpec
from oellm_bench.backends.progress import progress_problems
from oellm_bench.backends.resume import ResumeConfig
from oellm_bench.core.launch import LaunchCommand
from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.errors import Problem
from oellm_bench.placeholders import value_text


@dataclass(frozen=True, kw_only=True)
class CommandBackendConfig(PluginConfig):
    """A command: a list of arguments, or one line for bash."""

    command: list[Any] | str = option("argv as a list; a string is a line for bash, values quoted")
    args: Arguments = option("arguments added at the end: mapping {n: 1} is --n 1; list; line", factory=dict)
    environment: dict[str, str | int | float | bool] = option("environment of the command", factory=dict)
    cwd: str = option("folder to run in; empty: where the campaign was submitted", "")
    progress: str = option(
        "regular expression with a group `iteration` for lines that tell how far it is; other groups are kept too", ""
    )
    resume: ResumeConfig = option("how a restart goes on from a checkpoint", factory=ResumeConfig)


@register
class CommandBackend(Backend):
    """argv or a shell line, and nothing else."""

    config: CommandBackendConfig

    def __init__(self, config: CommandBackendConfig) -> None:
        self.config = config

    def validate(self, spec: BackendJobSpec) -> Sequence[Problem]:
        """Check that there is something to run and that every argument is a single value."""
        problems = []
        if not self.config.command:
            problems.append(Problem(what="command is empty", where="command", fix="give a list or a line"))
        for field, value in (("command", self.config.command), ("args", self.config.args)):
            try:
                to_argv(value if field == "args" or isinstance(value, list) else "")
            except ValueError as err:
                problems.append(Problem(what=str(err), where=field, fix="give words, numbers or booleans"))
        return [*problems, *progress_problems(self.config.progress), *self.config.resume.problems()]

    def build_launch_command(self, spec: BackendJobSpec) -> LaunchCommand:
        """Return the list as argv; a line becomes `bash -c LINE bash ARGS`, so "$@" holds the arguments."""
        command, extra = self.config.command, to_argv(self.config.args)
        shell = isinstance(command, str)
        argv = ("bash", "-c", command, "bash") if isinstance(command, str) else to_argv(command)
        return LaunchCommand(
            argv=(*argv, *extra) if extra or not shell or self.config.resume.checkpoints else argv[:3],
            environment={name: value_text(value) for name, value in self.config.environment.items()},
            cwd=self.config.cwd,
            shell=shell,
            progress=self.config.progress,
            resume=self.config.resume.resume(),
        )
