"""Documentation is held to what the program does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from oellm_bench.builtins import load_all
from oellm_bench.cli.parser import build_parser
from oellm_bench.config.options import list_options
from oellm_bench.core.result import ErrorMode

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *ROOT.glob("container/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
    broken = [link for link in links if "://" not in link and not (page.parent / link).exists()]
    assert broken == []


def test_readme_names_every_verb():
    (verbs,) = [action.choices for action in build_parser()._actions if action.choices]
    text = (ROOT / "README.md").read_text()
    assert [verb for verb in verbs if f"`{verb}`" not in text] == []


def test_error_modes_are_documented():
    text = (ROOT / "docs" / "watching.md").read_text()
    assert [mode.value for mode in ErrorMode if f"`{mode.value}`" not in text] == []


def test_every_race_is_documented_and_tested():
    rows = re.findall(r"^\| (\d+) \|.*\|( ● )?\|$", (ROOT / "docs" / "races.md").read_text(), re.MULTILINE)
    texts = {path.name: path.read_text() for path in (ROOT / "tests").rglob("test_*.py")}
    tested = {int(number) for text in texts.values() for number in re.findall(r"def test_race_(\d\d)_", text)}
    real = {int(n) for text in texts.values() for n in re.findall(r"def test_race_(\d\d)_\w+_on_a_real_cluster", text)}
    assert [int(number) for number, _ in rows] == sorted(tested) == list(range(1, 31))
    assert {int(number) for number, mark in rows if mark} == real


def test_every_option_has_a_meaning():
    assert [row["key"] for row in list_options() if not row["meaning"]] == []


def test_documented_classes_exist():
    load_all()
    known = {key for row in list_options() for key in re.findall(r"\[(\w+)\]", row["key"])}
    text = "".join(page.read_text() for page in PAGES)
    named = set(re.findall(r"\b[A-Z]\w+(?:Policy|Backend|Sink|Launcher|Client)\b", text)) - {"ExampleBackend"}
    assert named - known == {"HostLauncher"} & named - known


def test_the_packaged_files_speak_of_no_machine():
    """A path or host of whoever wrote a file is of no use to anybody else."""
    listed = [path for folder in ("config", "scripts", "docs", "examples") for path in (ROOT / folder).rglob("*.*")]
    found = [path for path in listed if path.is_file() and re.search(r"/(home|root|work)/\w", path.read_text())]
    assert found == []
