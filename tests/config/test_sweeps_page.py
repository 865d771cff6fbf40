"""The page on sweeps: each example in it makes the entries that stand below it."""

from __future__ import annotations

import fnmatch
import re
from pathlib import Path

import pytest
from rich.console import Console

from oellm_bench.cli.stage_tree import stage_tree
from oellm_bench.stages import stages_of

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "sweeps.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```\n\n```text\n(.*?)```", PAGE, re.DOTALL)


def test_every_example_of_the_page_is_tried():
    assert len(EXAMPLES) == PAGE.count("```yaml") >= 7


@pytest.mark.parametrize(("text", "names"), EXAMPLES, ids=[names.split()[0] for _, names in EXAMPLES])
def test_an_example_makes_the_entries_below_it(campaign, text, names):
    found = [entry.name for entry in campaign.root(text).entries()]
    assert [fnmatch.fnmatchcase(*pair) for pair in zip(found, names.split(), strict=True)] == [True] * len(found)


def test_the_stages_are_drawn_as_the_page_shows(campaign):
    (drawn,) = re.findall(r"```text\n(stages.*?)```", PAGE, re.DOTALL)
    (text,) = [text for text, _ in EXAMPLES if "decay.output_dir" in text]
    console = Console(width=80, markup=False, highlight=False)
    with console.capture() as shown:
        console.print(stage_tree(stages_of(campaign.root(text).plan().plan)))
    assert shown.get() == drawn


def test_a_filter_on_the_command_line_is_written_as_the_page_says(campaign):
    (override,) = re.findall(r"-o '(sweep\.filter=.*?)'", PAGE)
    assert [entry.name for entry in campaign.root(sweep="params: {lr: [0.01, 0.1]}").entries(override)] == ["lr0.1"]
    problem = campaign.problem(override.replace('"', ""))
    assert "quote a value that has , = < > " in problem


def test_lists_add_up_as_the_page_says(campaign):
    (text,) = [text for text, _ in EXAMPLES if "list_composition" in text]
    plan = campaign.root(text).plan().plan
    signals = [[signal["name"] for signal in plan.watch[e.watch]["monitoring"]["log_signals"]] for e in plan.entries]
    assert signals == [["nan"], ["nan", "slow"]]
