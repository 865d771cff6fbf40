"""What Megatron-LM refuses after its start, told before: sizes that do not divide each other, and what is at odds.

The rules are those of validate_args in megatron/training/arguments.py, of TransformerConfig and of
initialize_model_parallel in megatron/core/parallel_state.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from oellm_bench.errors import Problem
from oellm_bench.megatron.convenience import mixed_units
from oellm_bench.megatron.rendering import Setting
from oellm_bench.megatron.table import Table

SIZES = (
    "tensor_model_parallel_size",
    "pipeline_model_parallel_size",
    "context_parallel_size",
    "expert_model_parallel_size",
    "expert_tensor_parallel_size",
    "micro_batch_size",
    "global_batch_size",
    "num_layers",
    "num_attention_heads",
    "seq_length",
)
# With one of these, sizes stand where they cannot be looked up: in a checkpoint, in a file of Megatron-LM's own.
FROM_ELSEWHERE = ("use_checkpoint_args", "use_mp_args_from_checkpoint_args", "yaml_cfg")
_UNEVEN = (
    "pipeline_model_parallel_layout",
    "decoder_first_pipeline_num_layers",
    "decoder_last_pipeline_num_layers",
    "hybrid_override_pattern",
    "hybrid_layer_pattern",
    "heterogeneous_layers_config_path",
    "heterogeneous_layers_config_encoded_json",
)


class _Known:
    """The values of arguments, given or by default; None for those that nobody knows yet."""

    def __init__(self, table: Table, settings: Mapping[str, Setting]) -> None:
        self._table = table
        self._settings = settings

    def __getitem__(self, dest: str) -> Any:
        setting = self._settings.get(dest)
        if setting is not None:
            return None if setting.open else setting.value
        arguments = self._table.by_dest.get(dest, ())
        return arguments[0].default if arguments else None

    def given(self, *dests: str) -> bool:
        """Tell whether any of some arguments is given."""
        return any(dest in self._settings for dest in dests)

    def key(self, dest: str) -> str:
        """Return the key under which it is given, else its name."""
        setting = self._settings.get(dest)
        return setting.key if setting is not None else dest

    def problem(self, dest: str, what: str, fix: str = "") -> Problem:
        """Return a problem that belongs to an argument."""
        return Problem(what=what, where=self.key(dest), fix=fix)


def setting_problems(table: Table, settings: Mapping[str, Setting], processes: int, job: str) -> Iterator[Problem]:
    """Yield what Megatron would refuse; `where` is the key.

    `processes`: the world size; `job`: what it comes from, for people: "2 nodes with 4 processes each".
    """
    known = _Known(table, settings)
    small = [
        known.problem(dest, f"{known[dest]} cannot work", "give 1 or more")
        for dest in SIZES
        if known[dest] is not None and known[dest] < 1
    ]
    if small:
        yield from small
        return
    yield from mixed_units(settings)
    if not any(known[dest] for dest in FROM_ELSEWHERE):
        yield from _world(known, processes, job)
        yield from _experts(known, processes, job)
        yield from _layers(known)
        yield from _model(known)
        yield from _query_groups(known)
        yield from _sequence(known)
    yield from _training(known)


def _world(known: _Known, processes: int, job: str) -> Iterator[Problem]:
    tensor, pipeline, context = (known[dest] for dest in SIZES[:3])
    if None in (tensor, pipeline, context):
        return
    model = tensor * pipeline * context
    if processes % model:
        # The size that does not fit even alone, else the largest one.
        dest = max(SIZES[:3], key=lambda dest: (known.given(dest), processes % known[dest] > 0, known[dest]))
        what = f"tensor {tensor} x pipeline {pipeline} x context {context} = {model} does not divide the {processes} "
        fix = f"change {', '.join(SIZES[:3])}, the nodes and GPUs in slurm.sbatch, or distributed.processes_per_node"
        yield known.problem(dest, f"{what}processes ({job})", fix)
        return
    yield from _batch(known, processes // model)


def _batch(known: _Known, replicas: int) -> Iterator[Problem]:
    micro, whole = known["micro_batch_size"], known["global_batch_size"]
    if micro is None or known["decrease_batch_size_if_needed"]:
        return
    step = micro * replicas
    said = f"micro batch {micro} x data-parallel {replicas} = {step}"
    if whole is not None and whole % step:
        near = whole // step * step
        numbers = f"{near} or {near + step}" if near else str(step)
        yield known.problem("global_batch_size", f"{said} does not divide the global batch {whole}", f"give {numbers}")
        return
    ramp = known["rampup_batch_size"]
    if ramp and len(ramp) == 3:
        start, growth, _ = ramp
        if start % step or growth % step or growth < 1:
            what = f"{said} does not divide the first batch {start} and the growth {growth}"
            yield known.problem("rampup_batch_size", what)
        elif whole is not None and (whole < start or (whole - start) % growth):
            what = f"steps of {growth} do not lead from the first batch {start} to the global batch {whole}"
            yield known.problem("rampup_batch_size", what)


def _experts(known: _Known, processes: int, job: str) -> Iterator[Problem]:
    experts, expert = known["num_experts"], known["expert_model_parallel_size"]
    if expert is None:
        return
    if experts is None:
        if expert > 1 and not known.given("num_experts"):
            what = f"{expert}-way expert parallelism without experts"
            yield known.problem("expert_model_parallel_size", what, "give num_experts")
        return
    if experts % expert:
        what = f"expert {expert} does not divide the {experts} experts"
        yield known.problem("expert_model_parallel_size", what)
    split = known["expert_tensor_parallel_size"] or known["tensor_model_parallel_size"]
    pipeline = known["pipeline_model_parallel_size"]
    if split is None or pipeline is None:
        return
    model = split * expert * pipeline
    if processes % model:
        what = f"expert-tensor {split} x expert {expert} x pipeline {pipeline} = {model} does not divide the "
        yield known.problem("expert_model_parallel_size", f"{what}{processes} processes ({job})")


def _layers(known: _Known) -> Iterator[Problem]:
    layers, pipeline = known["num_layers"], known["pipeline_model_parallel_size"]
    stages, each = known["num_virtual_stages_per_pipeline_rank"], known["num_layers_per_virtual_pipeline_stage"]
    if stages is not None and each is not None:
        what = "num_layers_per_virtual_pipeline_stage says it as well"
        yield known.problem("num_virtual_stages_per_pipeline_rank", what, "take one of them out")
        return
    if layers is None or pipeline is None or known.given(*_UNEVEN):
        return
    counted = layers + sum(bool(known[f"account_for_{part}_in_pipeline_split"]) for part in ("embedding", "loss"))
    more = f" (with those that count for embedding and loss: {counted})" if counted > layers else ""
    if counted % pipeline:
        yield known.problem("num_layers", f"pipeline {pipeline} does not divide the {layers} layers{more}")
    elif each is not None and (each < 1 or counted // pipeline % each):
        what = f"{each} layers a virtual stage do not divide the {counted // pipeline} layers of a pipeline rank"
        yield known.problem("num_layers_per_virtual_pipeline_stage", what)
    elif stages is not None and (stages < 1 or counted % (pipeline * stages)):
        what = f"pipeline {pipeline} x {stages} virtual stages do not divide the {layers} layers{more}"
        yield known.problem("num_virtual_stages_per_pipeline_rank", what)
    elif pipeline == 1 and ((each is not None and each < counted) or (stages or 1) > 1):
        dest = "num_layers_per_virtual_pipeline_stage" if each else "num_virtual_stages_per_pipeline_rank"
        yield known.problem(dest, "virtual stages without a pipeline", "give pipeline_model_parallel_size above 1")


def _model(known: _Known) -> Iterator[Problem]:
    heads, tensor = known["num_attention_heads"], known["tensor_model_parallel_size"]
    hidden, groups = known["hidden_size"], known["num_query_groups"]
    if heads and hidden and known["kv_channels"] is None and hidden % heads:
        yield known.problem("num_attention_heads", f"{heads} heads do not divide the hidden size {hidden}")
    if heads and tensor and heads % tensor:
        yield known.problem("num_attention_heads", f"tensor {tensor} does not divide the {heads} heads")
    if groups and tensor and known["group_query_attention"] and groups % tensor and tensor % groups:
        what = f"neither of tensor {tensor} and {groups} query groups divides the other"
        yield known.problem("num_query_groups", what)


def _query_groups(known: _Known) -> Iterator[Problem]:
    """Yield that heads do not part evenly into groups, which attention finds out as it splits its first tensor."""
    heads, groups = known["num_attention_heads"], known["num_query_groups"]
    if heads and groups and known["group_query_attention"] and not known["multi_latent_attention"] and heads % groups:
        yield known.problem("num_query_groups", f"{groups} query groups do not divide the {heads} heads")


def _sequence(known: _Known) -> Iterator[Problem]:
    length, context = known["seq_length"], known["context_parallel_size"]
    positions, tensor = known["max_position_embeddings"], known["tensor_model_parallel_size"]
    if length is None:
        return
    if positions is not None and positions < length:
        what = f"{positions} positions are fewer than the sequence has ({length})"
        yield known.problem("max_position_embeddings", what)
    if context and context > 1 and length % (2 * context):
        yield known.problem("seq_length", f"2 x context {context} does not divide the sequence length {length}")
    elif context and tensor and known["sequence_parallel"] and length // context % tensor:
        what = (
            f"tensor {tensor} does not divide the {length // context} positions of a rank, as sequence_parallel wants"
        )
        yield known.problem("seq_length", what)


def _training(known: _Known) -> Iterator[Problem]:
    lr, least = known["lr"], known["min_lr"]
    if lr is not None and least is not None and least > lr:
        yield known.problem("min_lr", f"{least:g} is more than lr {lr:g}")
    warm = next((dest for dest in ("lr_warmup_iters", "lr_warmup_samples") if known[dest]), "")
    if warm and known["lr_warmup_fraction"] is not None:
        yield known.problem("lr_warmup_fraction", f"'{known.key(warm)}' says it as well", "take one of them out")
    if known["bf16"] and known["fp16"]:
        yield known.problem("fp16", "bf16 is given as well", "take one of them out")
    if known.given("save") and not known.given("save_interval"):
        yield known.problem("save", "nothing says how often to save", "give save_interval")
    if known["tp_comm_overlap"] and not (known["sequence_parallel"] and (known["tensor_model_parallel_size"] or 2) > 1):
        yield known.problem("tp_comm_overlap", "there is no sequence parallelism to overlap with")
