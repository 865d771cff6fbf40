"""Run Megatron-LM: its own arguments, checked before anything is submitted, and a few that follow from them."""

from __future__ import annotations

import functools
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from compoconf import register

from oellm_bench.backends.arguments import Arguments, to_argv
from oellm_bench.backends.base import Backend, BackendJobSpec
from oellm_bench.backends.distributed import (
    DistributedConfig,
    distributed_argv,
    distributed_problems,
    processes_per_node,
    world_size,
)
from oellm_bench.backends.progress import progress_problems
from oellm_bench.core.launch import LaunchCommand
from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.core.resume import ITERATION, Resume
from oellm_bench.errors import ConfigError, Problem, StateError
from oellm_bench.megatron.asking import Interpreter
from oellm_bench.megatron.checkout import is_checkout, table_for
from oellm_bench.megatron.checks import SIZES, setting_problems
from oellm_bench.megatron.convenience import CONVENIENCES, CountedIn, derived, parted
from oellm_bench.megatron.rendering import Setting, argv_of, read_settings, setting_of
from oellm_bench.megatron.required import missing_problems
from oellm_bench.megatron.table import Argument, Table, normalised, packaged_table
from oellm_bench.placeholders import as_pattern, names_in, value_text

_log = logging.getLogger(__name__)

# What training_log in megatron/training/training.py prints; what is optional there is so here.
PROGRESS = (
    r" iteration +(?P<iteration>[0-9]+)/ *(?P<iterations>[0-9]+) \|"
    r"(?:.*? consumed samples: +(?P<samples>[0-9]+) \|)?"
    r"(?:.*? elapsed time per iteration \(ms\): +(?P<iteration_ms>[0-9.]+) \|)?"
    r"(?:.*? throughput per GPU \(TFLOP/s/GPU\): +(?P<tflops_per_gpu>[0-9.]+) \|)?"
    r"(?:.*? learning rate: +(?P<learning_rate>[^ |]+) \|)?"
    r"(?:.*? lm loss: +(?P<loss>[^ |]+) \|)?"
    r"(?:.*? grad norm: +(?P<grad_norm>[^ |]+) \|)?"
)
# Written when all ranks have saved (save_checkpoint in megatron/training/checkpointing.py).
_TRACKER = "latest_checkpointed_iteration.txt"
# Written last into a checkpoint's folder, by torch.distributed.checkpoint; the format `torch` has no such file.
_COMPLETE = {"torch_dist": ".metadata", "torch_dcp": ".metadata", "fsdp_dtensor": ".metadata"}
_SAVE = "{session_entry_dir}/checkpoints"
# Said of the checkpoint that an entry begins from; what it saves itself is gone on from as it is.
_OF_THE_BEGINNING = ("load", "ckpt_step", "finetune", "no_load_optim", "no_load_rng", "load_main_params_from_ckpt")
# Where something is not saved, it cannot be loaded.
_NOT_SAVED = {"no_save_optim": ("no_load_optim", "load_main_params_from_ckpt"), "no_save_rng": ("no_load_rng",)}


@dataclass(frozen=True, kw_only=True)
class AutoMegatronBackendConfig(PluginConfig):
    """A training with Megatron-LM."""

    script: str = option("the training script: below megatron_path, or a path of its own", "pretrain_gpt.py")
    megatron_path: str = option("the checkout of Megatron-LM; empty: the script's path says all", "")
    python: str = option("interpreter of the script; empty: that of torchrun, or the one that runs oellm-bench", "")
    args: dict[str, Any] = option(
        "Megatron-LM's arguments by name, and train_tokens, lr_decay_fraction, ...: {lr: 3e-4, bf16: true}",
        factory=dict,
    )
    extra_args: Arguments = option("further arguments of the script, passed as they are", factory=list)
    counted_in: Literal["auto", "iterations", "samples"] = option(
        "what train_tokens becomes: train_iters or train_samples; auto: samples where other arguments are in samples",
        "auto",
    )
    schema: Literal["auto", "packaged", "checkout"] = option(
        "whose arguments these are: the packaged table's, or the checkout's own; auto: the checkout's where it answers",
        "auto",
    )
    distributed: DistributedConfig = option("how many processes, and who starts them", factory=DistributedConfig)
    environment: dict[str, str | int | float | bool] = option("environment of the command", factory=dict)
    cwd: str = option("folder to run in; empty: where the campaign was submitted", "")
    progress: str = option(
        "regular expression for the lines that tell how far it is, with a group `iteration`", PROGRESS
    )
    resume: bool = option("a restart goes on from the newest whole checkpoint in `save`", True)


@dataclass(frozen=True, kw_only=True)
class _Arguments:
    """What `args` comes to: by dest in the order of the command line, and what is wrong with it."""

    settings: Mapping[str, Setting]
    problems: Sequence[Problem]


@register
class AutoMegatronBackend(Backend):
    """Megatron-LM, with every argument held against its own parser."""

    config: AutoMegatronBackendConfig

    def __init__(self, config: AutoMegatronBackendConfig) -> None:
        self.config = config

    def validate(self, spec: BackendJobSpec) -> Sequence[Problem]:
        """Check every argument, what follows from them, and that they fit each other and the job."""
        config = self.config
        problems = [
            *self._script_problems(spec),
            *distributed_problems(config.distributed, spec),
            *progress_problems(config.progress),
        ]
        table = self._table(spec)
        if isinstance(table, Problem):
            return [*problems, table]
        arguments = _read(table, config.args, config.counted_in)
        unseen = [*self._unseen_problems(table, arguments.settings)]
        found = list(arguments.problems)
        if not found and not unseen:
            given = {*arguments.settings, *(argument.dest for _, argument in self._unseen(table))}
            found += missing_problems(table, given, self._script())
            processes = world_size(config.distributed, spec)
            found += setting_problems(table, arguments.settings, max(1, processes), _job(config.distributed, spec))
        return [*problems, *unseen, *(replace(problem, where=_in_args(problem)) for problem in found)]

    def build_launch_command(self, spec: BackendJobSpec) -> LaunchCommand:
        """Return the script under its launcher, with the arguments that are not Megatron's defaults."""
        config = self.config
        table = self._table(spec)
        assert not isinstance(table, Problem), table
        settings = _read(table, config.args, config.counted_in).settings
        resume = self._resume(table, settings)
        script = self._script()
        folder = config.megatron_path or str(Path(script).parent)
        program = (script, *argv_of(settings.values()), *to_argv(config.extra_args))
        environment = {name: value_text(value) for name, value in config.environment.items()}
        if config.megatron_path and "/" in config.script:  # right in the checkout, a script finds it by itself
            further = environment.get("PYTHONPATH")
            environment["PYTHONPATH"] = ":".join(filter(None, (config.megatron_path, further)))
        return LaunchCommand(
            argv=distributed_argv(self._distributed(), spec, program, config.python),
            environment=environment,
            cwd=config.cwd,
            reads=tuple(path for path in dict.fromkeys((folder, str(Path(script).parent))) if not names_in(path)),
            progress=config.progress,
            resume=resume,
        )

    def _distributed(self) -> DistributedConfig:
        """Return how the processes are started: by the torchrun of `python`, unless another one is named."""
        config = self.config
        if not config.python or config.distributed.torchrun != DistributedConfig().torchrun:
            return config.distributed
        return replace(config.distributed, torchrun=[config.python, "-m", "torch.distributed.run"])

    def _script(self) -> str:
        path = Path(self.config.megatron_path) / self.config.script
        return str(path if names_in(str(path)) else path.absolute())

    def _script_problems(self, spec: BackendJobSpec) -> Sequence[Problem]:
        """Return that the checkout or the script is not there, unless a container may have it."""
        script, folder = self._script(), self.config.megatron_path
        if spec.contained or names_in(script):
            return []
        if folder and not Path(folder).is_dir():
            fix = "give the folder of a checkout of Megatron-LM"
            return [Problem(what=f"no such folder '{folder}'", where="megatron_path", fix=fix)]
        if not Path(script).is_file():
            fix = "give a path below megatron_path" if folder else "set megatron_path to the checkout that has it"
            return [Problem(what=f"no such file '{script}'", where="script", fix=fix)]
        return []

    def _unseen_problems(self, table: Table, settings: Mapping[str, Setting]) -> Iterator[Problem]:
        """Yield what `extra_args` says that is not theirs to say: what is checked, and said, in `args`."""
        try:
            unseen = self._unseen(table)
        except ValueError as err:
            yield Problem(what=str(err), where="extra_args", fix="give words, numbers or booleans")
            return
        for flag, argument in unseen:
            if argument.dest in settings or argument.dest in SIZES:
                what = f"{flag} is an argument that args know" + (", and say" if argument.dest in settings else "")
                yield Problem(what=what, where="extra_args", fix=f"write it as args.{argument.dest}")

    def _unseen(self, table: Table) -> Sequence[tuple[str, Argument]]:
        """Return the flags in `extra_args` that are known, with their arguments. Raises ValueError."""
        flags = [word.partition("=")[0] for word in to_argv(self.config.extra_args) if word.startswith("--")]
        return [(flag, argument) for flag in flags if (argument := table.find(flag)) is not None]

    def _table(self, spec: BackendJobSpec) -> Table | Problem:
        """Return the arguments that hold, or why the checkout that is to tell them does not."""
        folder, schema = self.config.megatron_path, self.config.schema
        if schema == "packaged" or (schema == "auto" and not (folder and is_checkout(Path(folder)))):
            return packaged_table()  # a checkout that is not here is in the image, or on another machine
        if not folder:
            fix = "give the folder of the checkout, or schema: packaged"
            return Problem(what="schema: checkout without a checkout", where="megatron_path", fix=fix)
        prefix = spec.inside((folder,)) if spec.contained else ()
        if spec.contained and not prefix:
            fix = "use schema: packaged"
            return _asked_or_packaged(Problem(what="its container runs in a job only", where="schema", fix=fix), schema)
        script = "" if names_in(self.config.script) else self.config.script
        asked = _asked(folder, Interpreter(python=self.config.python or "python3", prefix=prefix, script=script))
        return _asked_or_packaged(asked, schema)

    def _resume(self, table: Table, settings: Mapping[str, Setting]) -> Resume | None:
        """Return how a restart goes on: from what this entry has saved, not from what it began with."""
        save = settings.get("save")
        if not self.config.resume or save is None or table.find("--load") is None:
            return None
        step = (f"--ckpt-step={ITERATION}",) if table.find("--ckpt-step") is not None else ()
        kept = [name for saving, names in _NOT_SAVED.items() if saving in settings for name in names]
        dropped = [name for name in _OF_THE_BEGINNING if name in settings and name not in kept]
        saved = str(settings["ckpt_format"].value) if "ckpt_format" in settings else _default(table, "ckpt_format")
        return Resume(
            pattern=f"{as_pattern(str(save.value).rstrip('/'))}/iter_*",
            complete=_COMPLETE.get(saved, ""),
            arguments=("--load", str(save.value), *step),
            tracker=_TRACKER,
            without=tuple(part for name in dropped for part in settings[name].argv),
        )


@functools.cache
def _asked(folder: str, interpreter: Interpreter) -> Table | Problem:
    """Return the checkout's own table; asked once, however many points there are."""
    try:
        return table_for(Path(folder), interpreter)
    except ConfigError as err:
        return err.problems[0]
    except StateError as err:
        return Problem(what=str(err), where="megatron_path")


def _asked_or_packaged(asked: Table | Problem, schema: str) -> Table | Problem:
    """Return the packaged table, and say so, where a checkout that need not answer does not."""
    if isinstance(asked, Table) or schema != "auto":
        return asked
    _tell(f"Megatron-LM's arguments are those of the packaged table ({asked.what}; {asked.fix}, or schema: packaged)")
    return packaged_table()


@functools.cache
def _tell(text: str) -> None:
    _log.warning("%s", text)


def _read(table: Table, args: Mapping[str, Any], counted_in: CountedIn) -> _Arguments:
    wanted, others, problems = parted(table, args)
    given, wrong = read_settings(table, others, CONVENIENCES)
    problems += wrong
    if not wrong:  # what is wrong cannot be counted with
        made, wrong = derived(table, wanted, given, counted_in)
        problems += wrong
        given = {**given, **made}
    if "save_interval" in given and "save" not in map(normalised, others):
        own = setting_of(table, "save", _SAVE)
        if isinstance(own, Setting):
            given["save"] = own
    # Sorted: the order in which a sweep comes to say something makes no other experiment.
    whole = {dest: _in_one_word(given[dest]) if dest in _OF_THE_BEGINNING else given[dest] for dest in sorted(given)}
    return _Arguments(settings=whole, problems=problems)


def _in_one_word(setting: Setting) -> Setting:
    """Return a setting that is one word of the command line, so that it can be left out."""
    return replace(setting, argv=("=".join(setting.argv),)) if len(setting.argv) > 1 else setting


def _default(table: Table, dest: str) -> str:
    arguments = table.by_dest.get(dest, ())
    return str(arguments[0].default) if arguments else ""


def _in_args(problem: Problem) -> str:
    return f"args.{problem.where}" if problem.where else "args"


def _job(config: DistributedConfig, spec: BackendJobSpec) -> str:
    """Return what a number of processes comes from."""
    nodes, each = spec.resources.nodes, processes_per_node(config, spec)
    return f"{nodes} node{'s' if nodes > 1 else ''} with {each} each"
