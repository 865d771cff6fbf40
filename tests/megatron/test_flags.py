"""What is written in YAML arrives in Megatron's parser: as the same value, or not at all and with a reason."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oellm_bench.backends.base import BackendJobSpec
from oellm_bench.backends.megatron import AutoMegatronBackend, AutoMegatronBackendConfig
from oellm_bench.errors import Problem
from oellm_bench.megatron.rendering import argv_of, read_settings, setting_of
from oellm_bench.megatron.table import Argument, Table, packaged_table
from oellm_bench.placeholders import expand
from tests.megatron.table_parser import ROWS, build_parser, members

PARSER = build_parser()
DEFAULTS = vars(PARSER.parse_args([]))
BOOLEAN = ("store_true", "store_false", "boolean_optional")

whole = st.integers(-(10**12), 10**12)
text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12).filter(
    lambda word: word != "--"
)
plain = text.filter(lambda word: not word.startswith("-"))  # what argparse can read among several values


def written(row, several=False):
    """Return pairs of what is written in YAML and what the parser is to make of it."""
    kind = row.get("type")
    if kind == "enum_type_handler":
        return st.sampled_from(members(row)).map(lambda name: (name, name))
    if row.get("choices"):
        return st.sampled_from(row["choices"]).map(lambda choice: (choice, choice))
    if kind == "int":
        spelled = whole.flatmap(lambda n: st.sampled_from([n, f"{n:_}", f" {n}", float(n)]).map(lambda s: (s, n)))
        return st.integers(0, 10**12).map(lambda n: (n, n)) if several else spelled
    if kind == "float":
        number = st.floats(0, 1e300) if several else st.floats(allow_nan=False)
        return number.flatmap(lambda x: st.sampled_from([x, repr(x)]).map(lambda s: (s, x)))
    if kind == "bool":
        return st.booleans().map(lambda flag: (flag, flag))
    if kind == "tuple_type":
        return st.lists(st.integers(-9, 9999), min_size=1, max_size=3).map(lambda items: (items, tuple(items)))
    if kind in ("moe_freq_type", "la_freq_type", "no_rope_freq_type"):
        listed = st.lists(st.integers(0, 1), min_size=1).map(lambda items: (items, items))
        return st.one_of(st.integers(0, 99).map(lambda n: (n, n)), listed, st.just(("([1]*2+[0])*2", [1, 1, 0] * 2)))
    return (plain if several else text).map(lambda word: (word.replace("{", "{{").replace("}", "}}"), word))


def values(row):
    """Return pairs of what is written and what is parsed, for a whole argument."""
    if row["action"] in BOOLEAN:
        return st.booleans().map(lambda flag: (flag, flag))
    if "nargs" not in row:
        return written(row)
    least = {"+": 1, "*": 0}.get(row["nargs"], row["nargs"])
    most = least if isinstance(row["nargs"], int) else 4
    listed = st.lists(written(row, several=True), min_size=least, max_size=most)
    return listed.map(lambda pairs: ([pair[0] for pair in pairs], [pair[1] for pair in pairs]))


@st.composite
def argument_sets(draw):
    rows = draw(st.lists(st.sampled_from(ROWS), max_size=15, unique_by=lambda row: row["dest"]))
    drawn = [(row, *draw(values(row)), draw(st.booleans())) for row in rows]
    given = {row["dest"].replace("_", "-") if dashes else row["dest"]: said for row, said, _, dashes in drawn}
    return given, {row["dest"]: made for row, _, made, _ in drawn}


@settings(max_examples=500, deadline=None)
@given(argument_sets())
def test_what_is_rendered_parses_back_to_the_same_values(drawn):
    given, made = drawn
    backend = AutoMegatronBackend(AutoMegatronBackendConfig(script="/s.py", schema="packaged", args=given))
    _, _, script, *words = backend.build_launch_command(BackendJobSpec()).argv[1:]
    assert script == "/s.py"
    parsed = vars(PARSER.parse_args([expand(word, {"session_entry_dir": "/e"}.get) for word in words]))
    if made.get("save_interval") is not None and "save" not in made:
        made["save"] = "/e/checkpoints"
    for kind in ("iters", "samples"):  # with `save` all that is not left to Megatron
        if f"lr_decay_{kind}" in made and not {"lr_wsd_decay_iters", "lr_wsd_decay_samples"} & {*made}:
            made[f"lr_wsd_decay_{kind}"] = made[f"lr_decay_{kind}"]
    for dest, value in {**DEFAULTS, **made}.items():
        if value is False and parsed[dest] is None:
            continue  # of some flags the default is None, and nothing but the flag changes that
        assert parsed[dest] == value and isinstance(parsed[dest], bool) is isinstance(value, bool), dest


def rendered(**given):
    read, problems = read_settings(packaged_table(), {key.replace("__", "-"): value for key, value in given.items()})
    assert problems == []
    return argv_of(read.values())


def refusal(key, value):
    read = setting_of(packaged_table(), key, value)
    assert isinstance(read, Problem)
    assert read.where == key
    return str(read)


@pytest.mark.parametrize(
    ("given", "argv"),
    [
        ({"lr": 3e-4}, "--lr 0.0003"),
        ({"bf16": True}, "--bf16"),
        ({"bf16": False}, ""),
        ({"bf16": "yes"}, "--bf16"),
        ({"add_bias_linear": False}, "--disable-bias-linear"),
        ({"add_bias_linear": True}, ""),
        ({"disable_bias_linear": True}, "--disable-bias-linear"),
        ({"disable_bias_linear": False}, ""),
        ({"no_position_embedding": True}, "--no-position-embedding"),
        ({"ckpt_fully_parallel_save": False}, "--no-ckpt-fully-parallel-save"),
        ({"yarn_correction_range_round_to_int": True}, "--yarn-correction-range-round-to-int"),
        ({"yarn_correction_range_round_to_int": False}, "--no-yarn-correction-range-round-to-int"),
        ({"rl_partial_rollouts": True}, "--rl-partial-rollouts"),
        ({"no_rl_partial_rollouts": True}, ""),
        ({"lr__decay__iters": "1_000"}, "--lr-decay-iters 1000"),
        ({"train_iters": 1e9}, "--train-iters 1000000000"),
        ({"tensor_model_parallel_size": 1}, ""),
        ({"min_lr": 0}, ""),
        ({"seed": None}, ""),
        ({"lr": -1e-5}, "--lr=-1e-05"),
        ({"split": "-x y"}, "--split=-x y"),
        ({"data_path": "0.3 /a 0.7 /b"}, "--data-path 0.3 /a 0.7 /b"),
        ({"data_path": "{dataset:web,bin}"}, "--data-path {dataset:web,bin}"),
        ({"data_path": []}, "--data-path"),
        ({"rampup_batch_size": "32,32,1000"}, "--rampup-batch-size 32 32 1000"),
        ({"recompute_modules": "core_attn,mlp"}, "--recompute-modules core_attn mlp"),
        ({"attention_backend": "flash"}, "--attention-backend flash"),
        ({"attention_backend": "auto"}, ""),
        ({"exit_signal": 12}, "--exit-signal SIGUSR2"),
        ({"exit_signal": "SIGTERM"}, ""),
        ({"moe_layer_freq": [1, 0]}, "--moe-layer-freq [1,0]"),
        ({"window_size": [128, 0]}, "--window-size 128,0"),
        ({"lr": "{lr}"}, "--lr {lr}"),
        ({"megatron.lr": 0.5}, "--lr 0.5"),
        ({"--lr": 0.5}, "--lr 0.5"),
    ],
)
def test_values_are_told_in_megatrons_own_spelling(given, argv):
    assert " ".join(rendered(**given)) == argv


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("lr_decay_itres", 5, "did you mean 'lr_decay_iters'?"),
        ("train_iters", 4.5, "4.5 is not a whole number (--train-iters takes a whole number)"),
        ("train_iters", "many", "'many' is not a number"),
        ("train_iters", True, "True is not a number"),
        ("train_iters", "5K", "'5K' is not a whole number"),
        ("train_iters", "1e400", "counted with"),
        ("lr", "fast", "'fast' is not a number"),
        ("lr", "nan", "'nan' is not a number"),
        ("bf16", "maybe", "'maybe' is not true or false"),
        ("bf16", 2, "2 is not true or false"),
        (
            "normalization",
            "rmsnorm",
            "is not among the choices (--normalization takes text); valid: LayerNorm, RMSNorm",
        ),
        ("rampup_batch_size", [1, 2], "there are 2 values (--rampup-batch-size takes 3 of a whole number)"),
        ("recompute_modules", [], "there are 0 values"),
        ("window_size", [], "there are 0 values (--window-size takes a value of tuple_type)"),
        ("lr", [], "there are 0 values"),
        ("data_path", ["-x", "/a"], "'-x' among several values is a flag for argparse"),
        ("tokenizer_model", "--", "no value"),
        ("tokenizer_model", False, "put it in quotes"),
        ("tokenizer_model", {"a": 1}, "is a mapping"),
        ("tokenizer_model", ["a"], "is not text"),
        ("moe_layer_freq", "[1]*x", "is no pattern of layers"),
        ("attention_backend", "flesh", "did you mean 'flash'?"),
    ],
)
def test_what_megatron_could_not_read_is_refused_and_never_dropped(key, value, said):
    assert said in refusal(key, value)


def test_two_spellings_of_one_argument_are_refused():
    _, problems = read_settings(packaged_table(), {"add_bias_linear": True, "disable-bias-linear": True, "lr": 1})
    assert [str(problem) for problem in problems] == [
        "disable-bias-linear: 'add_bias_linear' says the same argument; take one of them out"
    ]


def test_null_says_nothing_and_still_has_to_be_an_argument():
    read, problems = read_settings(packaged_table(), {"lr": None, "lrr": None})
    assert read == {} and "did you mean 'lr'?" in str(problems[0])


OWN = Table(
    source="a fork",
    arguments=(
        Argument(dest="fp8", flags=("--fp8",), action="store_const", const="hybrid"),
        Argument(dest="spec", flags=("--spec",), action="append"),
        Argument(dest="verbose", flags=("-v", "--verbose"), action="count"),
        Argument(dest="one", flags=("--one",), nargs="?", type="int"),
        Argument(dest="backend", flags=("--backend",), type="<lambda>", choices=("Backend.flash", "Backend.auto")),
        Argument(dest="odd", flags=("--odd",), type="their_own_type", default=5),
        Argument(dest="call", flags=("--call",), action="their_own_action"),
    ),
)


@pytest.mark.parametrize(
    ("given", "argv"),
    [
        ({"fp8": True}, "--fp8"),
        ({"fp8": "hybrid"}, "--fp8"),
        ({"spec": ["a", "-b"]}, "--spec a --spec=-b"),
        ({"verbose": 2}, "-v -v"),
        ({"one": 3}, "--one 3"),
        ({"backend": "flash"}, "--backend flash"),
        ({"odd": "x:y"}, "--odd x:y"),
    ],
)
def test_what_the_parser_of_a_fork_may_have_is_told_too(given, argv):
    read, problems = read_settings(OWN, given)
    assert problems == [] and " ".join(argv_of(read.values())) == argv


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("fp8", "e4m3", "'e4m3' is not 'hybrid'"),
        ("verbose", True, "put what you mean into extra_args"),
        ("one", [1, 2], "there are 2 values"),
        ("backend", "fused", "valid: auto, flash"),
        ("call", 1, "put what you mean into extra_args"),
    ],
)
def test_what_cannot_be_told_is_refused(key, value, said):
    assert said in str(setting_of(OWN, key, value))
