"""Train with TorchTitan: its sections as a TOML file in the entry's folder, its processes under torchrun."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from compoconf import register

from oellm_bench.backends.arguments import Arguments, to_argv
from oellm_bench.backends.base import Backend, BackendJobSpec
from oellm_bench.backends.distributed import DistributedConfig, distributed_argv, distributed_problems
from oellm_bench.backends.progress import progress_problems
from oellm_bench.backends.resume import ResumeConfig
from oellm_bench.backends.toml import toml_text, twice_named
from oellm_bench.core.launch import LaunchCommand
from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.errors import Problem
from oellm_bench.placeholders import value_text

_FILE = "titan.toml"
# `step:  10  loss:  8.1234  grad_norm: ...  memory: ...  tps: 6,123  tflops: 40.12  mfu: 12.86%`, with colours between
# unless metrics.disable_color_printing is set; `validate step:` is another line.
# Source: torchtitan/components/metrics.py, main of 2024-10 to 2026-01.
_PROGRESS = (
    r"(?<!validate )step: *(?P<iteration>\d+)[^a-z]+?(?:\d+m)?loss: *(?P<loss>[-+.\deE]+|nan|inf)"
    r"(?:.*?tps: *(?P<tps>[\d,]+))?(?:.*?tflops: *(?P<tflops>[\d,.]+))?(?:.*?mfu: *(?P<mfu>[\d.]+)%)?"
)


@dataclass(frozen=True, kw_only=True)
class TitanBackendConfig(PluginConfig):
    """What TorchTitan is told, and how its processes are started."""

    sections: dict[str, Any] = option(
        "TorchTitan's configuration by section: {training: {steps: 1000}}; written as TOML; empty: no file",
        factory=dict,
    )
    args: Arguments = option(
        "arguments, which win over the file: {training.steps: 10}; without one {module: llama3, config: llama3_8b}",
        factory=dict,
    )
    module: str = option("the module that trains", "torchtitan.train")
    config_flag: str = option("the argument that takes the file", "--job.config_file")
    distributed: DistributedConfig = option("how many processes, and who starts them", factory=DistributedConfig)
    python: str = option(
        "interpreter where torchrun brings none; empty: the one that runs oellm-bench, or the image's python3", ""
    )
    environment: dict[str, str | int | float | bool] = option("environment of the processes", factory=dict)
    cwd: str = option("folder to run in, as a rule a checkout; empty: where the campaign was submitted", "")
    progress: str = option(
        "regular expression with a group `iteration` for lines that tell how far it is; other groups are kept too",
        _PROGRESS,
    )
    resume: ResumeConfig = option(
        "where checkpoints lie; TorchTitan itself goes on from the newest", factory=ResumeConfig
    )


@register
class TitanBackend(Backend):
    """`torchrun -m torchtitan.train`, on one node or many."""

    config: TitanBackendConfig

    def __init__(self, config: TitanBackendConfig) -> None:
        self.config = config

    def validate(self, spec: BackendJobSpec) -> Sequence[Problem]:
        """Check that it is told something in a form that TOML has, and that all processes would be started."""
        problems = [*self._section_problems()]
        try:
            arguments = to_argv(self.config.args)
        except ValueError as err:
            problems.append(Problem(what=str(err), where="args", fix="give words, numbers or booleans"))
        else:
            if not (arguments or self.config.sections):
                fix = "set backend.sections.model.name, or backend.args"
                problems.append(Problem(what="nothing says what to train", where="sections", fix=fix))
        return [
            *problems,
            *distributed_problems(self.config.distributed, spec),
            *progress_problems(self.config.progress),
            *self.config.resume.problems(),
        ]

    def build_launch_command(self, spec: BackendJobSpec) -> LaunchCommand:
        """Return the command with the text of its TOML file, which the job writes."""
        config = self.config
        told = (config.config_flag, f"{{session_entry_dir}}/{_FILE}") if config.sections else ()
        program = ("-m", config.module, *told, *to_argv(config.args))
        return LaunchCommand(
            argv=distributed_argv(config.distributed, spec, program, config.python),
            environment={name: value_text(value) for name, value in config.environment.items()},
            cwd=config.cwd,
            progress=config.progress,
            resume=config.resume.resume(),
            files={_FILE: toml_text(config.sections)} if config.sections else {},
        )

    def _section_problems(self) -> Iterator[Problem]:
        for name, section in self.config.sections.items():
            if not isinstance(section, dict):
                fix = "give a mapping: {steps: 1000}"
                yield Problem(what=f"{section!r} is no section", where=f"sections.{name}", fix=fix)
        for key in twice_named(self.config.sections):
            what = f"two keys are '{key.rpartition('.')[2]}' in TOML, such as 1 and '1'"
            yield Problem(what=what, where=f"sections.{key}", fix="take one of them out")
