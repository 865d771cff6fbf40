"""Arguments that Megatron-LM has no default for and does not begin without, told before a job has started."""

from __future__ import annotations

from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import PurePath

from oellm_bench.errors import Problem
from oellm_bench.megatron.checks import FROM_ELSEWHERE
from oellm_bench.megatron.table import Table

# What validate_args in megatron/training/arguments.py asserts, and for lr OptimizerParamScheduler; beside each what it
# may follow from instead.
_REQUIRED = {
    "num_layers": ("encoder_num_layers", "hybrid_override_pattern", "hybrid_layer_pattern"),
    "hidden_size": (),
    "num_attention_heads": (),
    "max_position_embeddings": ("retro_project_dir",),
    "micro_batch_size": (),
    "seq_length": ("encoder_seq_length", "retro_project_dir"),
    "lr": ("skip_train",),
}
# A script of another name may give arguments of its own (`args_defaults` of pretrain()).
_SCRIPTS = ("pretrain_*.py", "train_*.py")


def missing_problems(table: Table, given: Collection[str], script: str) -> list[Problem]:
    """Return one problem that names all arguments that are missing; none for a script that may know them itself.

    `given`: the dests that anything is said of. An argument that the table has not, or a default for, is not missing.
    """
    if any(dest in given for dest in FROM_ELSEWHERE) or not any(fnmatch(PurePath(script).name, p) for p in _SCRIPTS):
        return []
    missing = [
        dest
        for dest, instead in _REQUIRED.items()
        if dest not in given and _has_no_default(table, dest) and not any(other in given for other in instead)
    ]
    if not missing:
        return []
    verb, pronoun = ("are", "them") if len(missing) > 1 else ("is", "it")
    what = f"{', '.join(missing)} {verb} missing, and Megatron-LM has no default for {pronoun}"
    return [Problem(what=what, fix=f"give {pronoun} in args")]


def _has_no_default(table: Table, dest: str) -> bool:
    arguments = table.by_dest.get(dest, ())
    return bool(arguments) and all(argument.default is None for argument in arguments)
