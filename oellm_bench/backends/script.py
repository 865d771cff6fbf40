"""Run a benchmark script that keeps the file contract: params.json, metrics.json, tasks.pkl."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from compoconf import register

from oellm_bench.backends.arguments import Arguments, to_argv
from oellm_bench.backends.base import Backend, BackendJobSpec
from oellm_bench.backends.progress import progress_problems
from oellm_bench.backends.resume import ResumeConfig
from oellm_bench.core.launch import LaunchCommand
from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.errors import Problem
from oellm_bench.placeholders import names_in, value_text

_RESULTS_FLAG = "--benchmark-results-path"


@dataclass(frozen=True, kw_only=True)
class ScriptBackendConfig(PluginConfig):
    """A Python script that writes its results where --benchmark-results-path says."""

    script: str = option("path of the script, absolute or below script_base_dir")
    script_base_dir: str = option("folder that a relative script path starts from", ".")
    args: Arguments = option("arguments: mapping {n: 1} is --n 1; list; line", factory=dict)
    environment: dict[str, str | int | float | bool] = option("environment of the script", factory=dict)
    cwd: str = option("folder to run in; empty: where the campaign was submitted", "")
    python: str = option("interpreter of the script; empty: the one that runs oellm-bench, or the image's python3", "")
    progress: str = option(
        "regular expression with a group `iteration` for lines that tell how far it is; other groups are kept too", ""
    )
    resume: ResumeConfig = option("how a restart goes on from a checkpoint", factory=ResumeConfig)


def script_problems(path: Path, spec: BackendJobSpec) -> Iterator[Problem]:
    """Yield that a script is not there. One in a folder that this node has not may be in the container's image."""
    if names_in(str(path)) or path.is_file() or (spec.contained and not path.parent.is_dir()):
        return
    fix = "give an absolute path, or set script_base_dir"
    yield Problem(what=f"no such file '{path}'", where="script", fix=fix)


@register
class ScriptBackend(Backend):
    """A script under the file contract; exit 0 without a valid metrics.json is an error."""

    config: ScriptBackendConfig
    contract = True

    def __init__(self, config: ScriptBackendConfig) -> None:
        self.config = config

    def validate(self, spec: BackendJobSpec) -> Sequence[Problem]:
        """Check that the script is there (where its path has no placeholder) and the arguments are words."""
        problems = [*script_problems(self._script(), spec)]
        try:
            to_argv(self.config.args)
        except ValueError as err:
            problems.append(Problem(what=str(err), where="args", fix="give words, numbers or booleans"))
        return [*problems, *progress_problems(self.config.progress), *self.config.resume.problems()]

    def build_launch_command(self, spec: BackendJobSpec) -> LaunchCommand:
        """Return `python SCRIPT ARGS --benchmark-results-path DIR`; a path given in ARGS is kept."""
        arguments = to_argv(self.config.args)
        if not any(item.split("=")[0] == _RESULTS_FLAG for item in arguments):
            arguments = (*arguments, _RESULTS_FLAG, "{benchmark_results_path}")
        return LaunchCommand(
            argv=(self.config.python or sys.executable, str(self._script()), *arguments),
            environment={name: value_text(value) for name, value in self.config.environment.items()},
            cwd=self.config.cwd,
            reads=(str(self._script().parent),),
            progress=self.config.progress,
            resume=self.config.resume.resume(),
        )

    def _script(self) -> Path:
        # Absolute, because the job may start in another folder than the one it was planned in.
        return Path(self.config.script_base_dir).absolute() / self.config.script
