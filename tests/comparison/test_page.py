"""docs/comparing.md, held to what the program does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from oellm_bench.cli.parser import build_parser

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "comparing.md").read_text(encoding="utf-8")


def test_the_campaign_on_the_page_can_be_planned(campaign):
    (text,) = re.findall(r"^```yaml\n# campaign/nightly.yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    campaign.write(text, "nightly")
    plan = campaign.plan(config="nightly").plan
    assert [entry.name for entry in plan.entries] == [
        f"size{size}_r{number}" for size in (1, 2) for number in range(1, 6)
    ]
    assert len(plan.entries[0].requirements) == 3


def test_the_commands_on_the_page_are_understood():
    commands = re.findall(r"^\$ oellm-bench (.*)$", PAGE, re.MULTILINE)
    for command in commands:
        build_parser().parse_args(shlex.split(command, comments=True))
    assert len(commands) == 7
