"""Tokens and fractions become Megatron's own arguments: exactly, or not at all and with a reason."""

from __future__ import annotations

import pytest

from oellm_bench.megatron.convenience import CONVENIENCES, derived, parted
from oellm_bench.megatron.rendering import read_settings
from oellm_bench.megatron.table import Argument, Table, packaged_table

SIZES = {"seq_length": 4096, "global_batch_size": 1024}


def made(given, counted_in="auto", table=None):
    """Return what follows from some arguments, by dest, and what is said against it."""
    table = table or packaged_table()
    wanted, others, problems = parted(table, given)
    read, wrong = read_settings(table, others)
    settings, more = derived(table, wanted, read, counted_in)
    return {dest: setting.value for dest, setting in settings.items()}, [*map(str, [*problems, *wrong, *more])]


def refused(**given):
    settings, (problem,) = made(given)
    assert settings == {}
    return problem


@pytest.mark.parametrize(
    ("tokens", "iterations"),
    [
        (4096 * 1024, 1),
        (4096 * 1024 + 1, 2),
        ("300B", 71526),
        ("1.5T", 357628),
        (3e11, 71526),
        ("3e11", 71526),
        ("300_000_000_000", 71526),
        (10**24 + 1, 238418579101562501),  # beyond what a float can tell apart
    ],
)
def test_train_tokens_becomes_iterations_rounded_up(tokens, iterations):
    assert made({"train_tokens": tokens, **SIZES}) == ({"train_iters": iterations}, [])


@pytest.mark.parametrize(
    "more",
    [
        {"rampup_batch_size": [32, 32, 1000]},
        {"lr_warmup_samples": 5},
        {"lr_decay_samples": 5, "lr_wsd_decay_samples": 5},
    ],
)
def test_train_tokens_becomes_samples_where_the_training_is_counted_in_samples(more):
    assert made({"train_tokens": "1B", **SIZES, **more}) == ({"train_samples": 244141}, [])


def test_how_train_tokens_is_counted_can_be_said():
    assert made({"train_tokens": "1B", "seq_length": 4096}, "samples") == ({"train_samples": 244141}, [])


def test_fractions_follow_from_the_iterations_rounded_down_without_floats():
    settings, problems = made({"train_iters": 1000, "lr_decay_fraction": 0.29, "lr_wsd_decay_fraction": "0.2"})
    assert problems == []
    assert settings == {"lr_decay_iters": 290, "lr_wsd_decay_iters": 200}  # int(1000 * 0.29) would be 290 by luck only
    assert int(100 * 0.29) == 28
    assert made({"train_iters": 100, "lr_decay_fraction": 0.29})[0]["lr_decay_iters"] == 29


def test_fractions_follow_from_tokens_and_from_samples():
    settings, problems = made({"train_tokens": "300B", "lr_decay_fraction": 0.5, **SIZES})
    assert (settings["train_iters"], settings["lr_decay_iters"], problems) == (71526, 35763, [])
    assert made({"train_samples": 1001, "lr_decay_fraction": 0.5})[0] == {
        "lr_decay_samples": 500,
        "lr_wsd_decay_samples": 500,
    }


def test_the_wsd_decay_follows_the_decay_unless_it_is_said():
    assert made({"lr_decay_iters": 70}) == ({"lr_wsd_decay_iters": 70}, [])
    assert made({"lr_decay_samples": 70}) == ({"lr_wsd_decay_samples": 70}, [])
    assert made({"lr_decay_iters": 70, "lr_wsd_decay_iters": 5}) == ({}, [])


def test_the_warm_up_fraction_is_megatrons_own():
    assert parted(packaged_table(), {"lr_warmup_fraction": 0.01})[:2] == ({}, {"lr_warmup_fraction": 0.01})


def test_intervals_and_the_warm_up_can_be_told_in_tokens():
    settings, problems = made(
        {
            "train_iters": 10,
            "save_interval_tokens": "1B",
            "eval_interval_tokens": "0.1B",
            "lr_warmup_tokens": "2B",
            **SIZES,
        }
    )
    assert problems == []
    assert settings == {"save_interval": 239, "eval_interval": 24, "lr_warmup_iters": 477}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"train_tokens": "1B"}, "train_tokens: seq_length is missing, which it follows from; give seq_length"),
        ({"train_tokens": "1B", "seq_length": 8}, "train_tokens: global_batch_size is missing"),
        ({"train_tokens": "1B", "train_iters": 5, **SIZES}, "train_tokens: 'train_iters' says it as well; take one"),
        ({"train_tokens": "1B", "train-samples": 5, **SIZES}, "train_tokens: 'train-samples' says it as well"),
        ({"train_tokens": "a lot", **SIZES}, "train_tokens: 'a lot' is not a number"),
        (
            {"train_tokens": "20X", **SIZES},
            "'20X' is not a number; give a whole number above 0, such as 1e9 or 300B (K, M",
        ),
        ({"lr_decay_fraction": "most", "train_iters": 5}, "'most' is not a number; give a number above 0, up to 1"),
        ({"train_tokens": 0, **SIZES}, "train_tokens: 0 is no number of tokens"),
        ({"train_tokens": 1.5, **SIZES}, "train_tokens: 3/2 is no number of tokens"),
        ({"train_tokens": "1e400", **SIZES}, "train_tokens: '1e400' is no number that can be counted with"),
        ({"lr_decay_fraction": "1e-999999999", "train_iters": 5}, "is no number that can be counted with"),
        ({"train_tokens": True, **SIZES}, "train_tokens: True is not a number"),
        (
            {"train_tokens": "1B", "seq_length": "{s}", "global_batch_size": 4},
            "seq_length is '{s}', which is not known",
        ),
        ({"train_tokens": "1B", "seq_length": 0, "global_batch_size": 4}, "seq_length is 0"),
        ({"lr_decay_fraction": 0.5}, "train_iters is missing, which it follows from; give train_tokens or train_iters"),
        ({"lr_decay_fraction": 20, "train_iters": 5}, "20 is no fraction of the training"),
        ({"lr_decay_fraction": 0.1, "train_iters": 5}, "'0.1' comes to 0 for lr_decay_iters"),
        ({"lr_decay_fraction": 0.1, "lr_wsd_decay_iters": 1, "lr_decay_iters": 3}, "'lr_decay_iters' says it as well"),
        ({"train_tokens": "1B", "rampup_batch_size": [8, 8, 8]}, "seq_length is missing"),
        ({"save_interval_tokens": "1B", "rampup_batch_size": [8, 8, 8], **SIZES}, "lets the batch grow"),
    ],
)
def test_what_cannot_be_worked_out_is_refused_and_never_dropped(given, said):
    assert said in refused(**given)


def test_of_what_cannot_be_told_a_fraction_says_nothing_more():
    assert made({"train_tokens": "1B", "lr_decay_fraction": 0.2, "global_batch_size": 8}) == (
        {},
        ["train_tokens: seq_length is missing, which it follows from; give seq_length"],
    )


def test_a_convenience_is_among_the_names_that_may_be_meant():
    _, (problem,) = read_settings(packaged_table(), {"train_tokns": 1}, CONVENIENCES)
    assert "did you mean 'train_tokens'?" in str(problem)


def test_a_convenience_in_two_spellings_is_refused():
    assert "train-tokens: 'train_tokens' says the same" in made({"train_tokens": 1, "train-tokens": 2, **SIZES})[1][0]


def test_an_argument_that_the_checkout_has_itself_is_no_convenience():
    own = Table(source="a fork", arguments=(Argument(dest="train_tokens", flags=("--train-tokens",), type="int"),))
    wanted, others, _ = parted(own, {"train_tokens": 5})
    assert (wanted, others) == ({}, {"train_tokens": 5})


def test_a_megatron_without_the_argument_that_would_follow_is_told_of():
    old = Table(source="old", arguments=tuple(Argument(dest=d, flags=(f"--{d}",), type="int") for d in SIZES))
    assert "this Megatron-LM has no train_iters (old)" in made({"train_tokens": "1B", **SIZES}, table=old)[1][0]
