"""What Megatron-LM would refuse minutes into a job is refused by `plan`, with the numbers."""

from __future__ import annotations

import pytest

from oellm_bench.megatron.checks import setting_problems
from oellm_bench.megatron.rendering import read_settings
from oellm_bench.megatron.required import missing_problems
from oellm_bench.megatron.table import Argument, Table, packaged_table


def problems(processes=16, **given):
    read, wrong = read_settings(packaged_table(), given)
    assert wrong == []
    return [*map(str, setting_problems(packaged_table(), read, processes, "2 nodes with 8 each"))]


def parallel(tp=1, pp=1, cp=1, ep=1):
    kinds = {"tensor": tp, "pipeline": pp, "context": cp, "expert": ep}
    return {f"{kind}_model_parallel_size".replace("context_model", "context"): size for kind, size in kinds.items()}


GOOD = {
    **parallel(tp=2, pp=2, cp=2),
    "micro_batch_size": 2,
    "global_batch_size": 8,
    "num_layers": 12,
    "hidden_size": 64,
    "num_attention_heads": 8,
    "group_query_attention": True,
    "num_query_groups": 4,
    "seq_length": 4096,
    "max_position_embeddings": 4096,
    "sequence_parallel": True,
    "lr": 1e-3,
    "min_lr": 1e-4,
    "num_virtual_stages_per_pipeline_rank": 3,
    "save": "/s",
    "save_interval": 5,
}


def test_sizes_that_fit_are_taken():
    assert problems(**GOOD) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (
            {**parallel(tp=3), "num_attention_heads": 9},
            "tensor 3 x pipeline 1 x context 1 = 3 does not divide the 16 processes (2 nodes with 8 each)",
        ),
        (
            {"global_batch_size": 9},
            "micro batch 2 x data-parallel 2 = 4 does not divide the global batch 9; give 8 or 12",
        ),
        ({"global_batch_size": 2}, "= 4 does not divide the global batch 2; give 4"),
        ({"rampup_batch_size": [2, 2, 100]}, "does not divide the first batch 2 and the growth 2"),
        ({"rampup_batch_size": [4, 8, 100], "global_batch_size": 16}, "steps of 8 do not lead from the first batch 4"),
        ({"expert_model_parallel_size": 2}, "2-way expert parallelism without experts; give num_experts"),
        ({"expert_model_parallel_size": 2, "num_experts": 5}, "expert 2 does not divide the 5 experts"),
        (
            {"expert_model_parallel_size": 8, "num_experts": 8},
            "expert-tensor 2 x expert 8 x pipeline 2 = 32 does not divide the 16 processes",
        ),
        ({"num_layers": 13, "num_virtual_stages_per_pipeline_rank": 1}, "pipeline 2 does not divide the 13 layers"),
        ({"num_virtual_stages_per_pipeline_rank": 5}, "pipeline 2 x 5 virtual stages do not divide the 12 layers"),
        ({"num_attention_heads": 8, **parallel(tp=16)}, "tensor 16 does not divide the 8 heads"),
        ({"num_query_groups": 3}, "neither of tensor 2 and 3 query groups divides the other"),
        ({"num_query_groups": 16}, "num_query_groups: 16 query groups do not divide the 8 heads"),
        ({"hidden_size": 65}, "8 heads do not divide the hidden size 65"),
        ({"seq_length": 4094}, "2 x context 2 does not divide the sequence length 4094"),
        ({"max_position_embeddings": 2048}, "2048 positions are fewer than the sequence has (4096)"),
        ({"min_lr": 1.0}, "min_lr: 1 is more than lr 0.001"),
        ({"lr_warmup_fraction": 0.1, "lr_warmup_iters": 5}, "lr_warmup_fraction: 'lr_warmup_iters' says it as well"),
        ({"bf16": True, "fp16": True}, "fp16: bf16 is given as well"),
        ({"save_interval": None}, "save: nothing says how often to save; give save_interval"),
        ({"tensor_model_parallel_size": 0}, "tensor_model_parallel_size: 0 cannot work; give 1 or more"),
        ({"train_iters": 5, "lr_warmup_samples": 5}, "lr_warmup_samples: the training is counted in iterations"),
        ({"train_samples": 5, "lr_decay_iters": 5}, "lr_decay_iters: the training is counted in samples"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_the_numbers(changed, said):
    found = problems(**{**GOOD, **changed})
    assert any(said in problem for problem in found), found


@pytest.mark.parametrize(
    ("sizes", "key"),
    [(parallel(tp=2, pp=3), "pipeline"), (parallel(tp=2, pp=16), "pipeline"), (parallel(tp=16, cp=2), "tensor")],
)
def test_the_size_that_makes_too_many_is_the_one_that_is_named(sizes, key):
    found = [problem for problem in problems(**sizes) if "does not divide the 16 processes" in problem]
    (problem,) = found
    assert problem.startswith(f"{key}_model_parallel_size: tensor {sizes['tensor_model_parallel_size']} x pipeline")
    assert "change tensor_model_parallel_size, pipeline_model_parallel_size, context_parallel_size, the" in problem


def test_layers_that_count_for_embedding_and_loss_make_a_pipeline_even():
    sizes = {**parallel(pp=4), "num_layers": 14}
    ends = {"account_for_embedding_in_pipeline_split": True, "account_for_loss_in_pipeline_split": True}
    assert problems(**sizes) == ["num_layers: pipeline 4 does not divide the 14 layers"]
    assert problems(**sizes, **ends) == []


@pytest.mark.parametrize("key", ["pipeline_model_parallel_layout", "hybrid_override_pattern"])
def test_an_uneven_split_is_left_to_megatron(key):
    assert problems(**parallel(pp=4), num_layers=14, **{key: "x"}) == []


@pytest.mark.parametrize("key", ["use_checkpoint_args", "use_mp_args_from_checkpoint_args", "yaml_cfg"])
def test_sizes_that_stand_elsewhere_are_not_guessed(key):
    sizes = {"micro_batch_size": 1, "global_batch_size": 2}
    assert problems(**sizes) and problems(**sizes, **{key: "x" if key == "yaml_cfg" else True}) == []


def test_a_batch_that_may_shrink_need_not_be_divisible():
    sizes = {"micro_batch_size": 2, "global_batch_size": 33, "decrease_batch_size_if_needed": True}
    assert problems(**sizes) == []


def test_query_groups_of_an_attention_without_them_are_not_looked_at():
    assert problems(num_attention_heads=8, num_query_groups=3) == []
    latent = {"group_query_attention": True, "multi_latent_attention": True}
    assert problems(num_attention_heads=8, num_query_groups=3, **latent) == []


def test_what_is_known_only_in_the_entry_is_not_guessed():
    assert problems(tensor_model_parallel_size="{tp}", num_attention_heads=7, num_layers=3) == []


def test_a_checkouts_own_defaults_and_arguments_decide_what_is_missing():
    arguments = [Argument(dest="num_layers", flags=("--num-layers",), default=12), Argument(dest="lr", flags=("--lr",))]
    own = Table(source="a fork", arguments=tuple(arguments))
    (problem,) = missing_problems(own, {"seed"}, "pretrain_gpt.py")
    assert problem.what == "lr is missing, and Megatron-LM has no default for it"
