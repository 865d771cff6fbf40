"""The examples of docs/megatron.md, planned as they are printed."""

from __future__ import annotations

import re

import pytest

from oellm_bench.backends.megatron import AutoMegatronBackendConfig
from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "megatron.md").read_text(encoding="utf-8")
EXAMPLES = {name: text for name, text in re.findall(r"```yaml\n# campaign/(\w+)\.yaml\n(.*?)```", PAGE, re.DOTALL)}


@pytest.fixture
def page(campaign, tmp_path):
    checkout = tmp_path / "Megatron-LM"
    checkout.mkdir()
    (checkout / "pretrain_gpt.py").touch()
    for name, text in EXAMPLES.items():
        campaign.write(text.replace("/p/Megatron-LM", str(checkout)), name)
    return campaign


def told(entry, flag):
    return entry.argv[entry.argv.index(flag) + 1]


def test_the_figures_in_the_comments_are_those_of_the_plan(page):
    entries = page.plan("backend.schema=packaged", config="llama").plan.entries
    assert [entry.name for entry in entries] == [f"lr{lr}_bs{bs}" for lr in ("0.0003", "0.0006") for bs in (256, 512)]
    comments = re.findall(r"# (--[a-z-]+)(?: (\d+))?$", EXAMPLES["llama"], re.MULTILINE)
    assert [flag for flag, _ in comments] == ["--disable-bias-linear", "--train-iters", "--lr-decay-iters"]
    assert all(told(entries[0], flag) == number for flag, number in comments if number)
    assert "--disable-bias-linear" in entries[0].argv


def test_a_decay_begins_where_the_stable_stage_has_ended(page):
    entries = page.plan("backend.schema=packaged", config="decay").plan.entries
    stable, decay = (next(entry for entry in entries if entry.name == f"{s}_lr0.0003") for s in ("stable", "decay"))
    assert f"--load={told(stable, '--save')}" in decay.argv
    assert int(told(decay, "--train-iters")) - int(told(decay, "--lr-wsd-decay-iters")) == int(
        told(stable, "--train-iters")
    )
    assert decay.resume is not None and decay.resume.without == (f"--load={told(stable, '--save')}",)


def test_a_wrong_size_is_refused_as_it_is_printed(page):
    found = page.problems("backend.schema=packaged", "backend.args.tensor_model_parallel_size=3", config="llama")
    printed = " ".join(re.findall(r"oellm-bench: 2 problems:\n(.*?)```", PAGE, re.DOTALL)[0].split())
    assert len(found) == 2 and all(problem.split(": ", 2)[2] in printed for problem in found)


def test_every_field_stands_on_the_page():
    fields = set(AutoMegatronBackendConfig.__dataclass_fields__) - {"class_name"}
    table = PAGE.partition("## All fields")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", table, re.MULTILINE))))
    assert named == fields | {"backend"}
