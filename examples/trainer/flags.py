"""Megatron-LM's command line, built from the table of its own parser; few of its flags mean something here."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TABLE = Path(__file__).resolve().parents[2] / "oellm_bench" / "megatron" / "arguments.json"
TYPES = {"int": int, "float": float}  # everything else is text here: no flag that is used is of another type
REQUIRED = ("num_layers", "hidden_size", "num_attention_heads", "max_position_embeddings", "seq_length")
PARALLEL = ("tensor_model_parallel_size", "pipeline_model_parallel_size", "context_parallel_size")
USED = {
    *REQUIRED,
    *PARALLEL,
    *("micro_batch_size", "global_batch_size", "train_iters", "train_samples", "seed", "data_path", "mock_data"),
    *("lr", "min_lr", "lr_decay_style", "lr_decay_iters", "lr_decay_samples", "lr_warmup_iters", "lr_warmup_samples"),
    *("lr_warmup_fraction", "lr_warmup_init", "lr_wsd_decay_iters", "lr_wsd_decay_samples", "lr_wsd_decay_style"),
    *("weight_decay", "clip_grad", "adam_beta1", "adam_beta2", "adam_eps", "init_method_std"),
    *("override_opt_param_scheduler", "use_checkpoint_opt_param_scheduler", "check_for_nan_in_loss_and_grad"),
    *(
        "save",
        "load",
        "save_interval",
        "ckpt_step",
        "ckpt_format",
        "finetune",
        "no_load_optim",
        "exit_on_missing_checkpoint",
    ),
    *("log_interval", "log_throughput", "eval_interval", "eval_iters"),
    *("exit_interval", "exit_duration_in_mins", "exit_signal_handler", "exit_signal"),
}


def parser() -> argparse.ArgumentParser:
    """Return a parser with every flag of Megatron's; flags that are not given leave no value."""
    made = argparse.ArgumentParser(
        usage="%(prog)s [flags of Megatron-LM]", allow_abbrev=False, argument_default=argparse.SUPPRESS
    )
    for argument in _table():
        made.add_argument(*_flags(argument), dest=argument["dest"], **_details(argument))
    return made


def _table() -> list[dict[str, Any]]:
    arguments: list[dict[str, Any]] = json.loads(TABLE.read_text(encoding="utf-8"))["arguments"]
    return arguments


def _flags(argument: dict[str, Any]) -> list[str]:
    """Return how an argument is written; argparse makes the `--no-` form of a pair by itself."""
    pair = argument["action"] == "boolean_optional"
    return [flag for flag in argument["flags"] if not (pair and flag.startswith("--no-"))]


def _details(argument: dict[str, Any]) -> dict[str, Any]:
    if argument["action"] == "boolean_optional":
        return {"action": argparse.BooleanOptionalAction}
    if argument["action"] != "store":
        return {"action": argument["action"]}
    details: dict[str, Any] = {"type": TYPES.get(argument.get("type", ""), str)}
    if argument.get("nargs") is not None:
        details["nargs"] = argument["nargs"]
    if details["type"] is str and all(isinstance(choice, str) for choice in argument.get("choices") or [0]):
        details["choices"] = argument["choices"]
    return details


def read(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the values of all flags, with what follows from them; exits with 2 where they cannot be used.

    `ignored` is the list of flags that were given and that mean nothing here.
    """
    made = parser()
    given = vars(made.parse_args(argv))
    values = {argument["dest"]: argument.get("default") for argument in _table()} | given
    options = argparse.Namespace(**values, ignored=sorted(set(given) - USED))
    if problem := _problem(options):
        made.error(problem)
    options.rank, options.world_size = (int(os.environ.get(name, n)) for name, n in (("RANK", 0), ("WORLD_SIZE", 1)))
    options.exit_signal_number = _signal(options.exit_signal)
    if problem := _batches(options) or _lengths(options):
        made.error(problem)
    return options


def _signal(given: int | str) -> int:
    """Return the number of a signal that is named by it or by its name."""
    return int(given) if str(given).isdigit() else signal.Signals[str(given)].value


def _problem(options: argparse.Namespace) -> str:
    """Return what Megatron would not begin with, empty where there is nothing; validate_args in its arguments.py."""
    for name in (*REQUIRED, "micro_batch_size", "lr"):
        if getattr(options, name) is None:
            return f"{name} argument is None"
    if options.hidden_size % options.num_attention_heads:
        return f"--hidden-size {options.hidden_size} cannot be divided by {options.num_attention_heads} heads"
    if options.seq_length > options.max_position_embeddings:
        return f"--seq-length {options.seq_length} is beyond --max-position-embeddings"
    if (options.train_iters is None) == (options.train_samples is None):
        return "give one of --train-iters and --train-samples"
    unit = "samples" if options.train_iters is not None else "iters"
    wrong = [name for name in ("lr_decay", "lr_warmup", "lr_wsd_decay") if getattr(options, f"{name}_{unit}")]
    if wrong:
        return f"{wrong[0]}_{unit} does not go with training by {'iterations' if unit == 'samples' else 'samples'}"
    if options.save and not options.save_interval:
        return "--save needs --save-interval"
    return ""


def _batches(options: argparse.Namespace) -> str:
    """Work out the batch; return what is wrong with it."""
    parts = 1
    for name in PARALLEL:
        parts *= getattr(options, name) or 1
    if options.world_size % parts:
        return f"world size ({options.world_size}) is not divisible by total_model_size ({parts})"
    at_once = options.micro_batch_size * (options.world_size // parts)
    options.global_batch_size = options.global_batch_size or at_once
    if options.global_batch_size % at_once:
        return (
            f"global batch size ({options.global_batch_size}) is not divisible by micro batch size "
            f"({options.micro_batch_size}) times data parallel size ({options.world_size // parts})"
        )
    return ""


def _lengths(options: argparse.Namespace) -> str:
    """Work out all that is counted in samples, as Megatron's scheduler does; return what is wrong with it."""
    batch = options.global_batch_size
    by_samples = options.train_samples is not None
    options.train_iters = options.train_samples // batch if by_samples else options.train_iters

    def samples(name: str) -> int:
        return int(
            getattr(options, f"{name}_samples") or 0 if by_samples else (getattr(options, f"{name}_iters") or 0) * batch
        )

    options.decay_steps = samples("lr_decay") or options.train_iters * batch
    options.wsd_decay_steps = samples("lr_wsd_decay")
    fraction = options.lr_warmup_fraction
    options.warmup_steps = samples("lr_warmup") if fraction is None else int(fraction * options.decay_steps)
    if options.lr_decay_style == "WSD" and not options.wsd_decay_steps:
        return "--lr-decay-style WSD needs --lr-wsd-decay-iters or --lr-wsd-decay-samples"
    if options.warmup_steps and options.warmup_steps >= options.decay_steps:
        return f"a warm-up of {options.warmup_steps} samples leaves nothing of a decay of {options.decay_steps}"
    return ""


def say(text: str) -> None:
    """Print a line at once: a log is read while it is written."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
