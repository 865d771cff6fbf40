"""Files that a command finds in its entry's folder: in the plan, on disk only once the job runs."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oellm_bench.backends.toml import in_string, toml_text
from oellm_bench.config.project import configured_points
from oellm_bench.core.launch import LaunchCommand
from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.plan import read_entry, read_plan, to_text
from oellm_bench.errors import ConfigError, StateError
from oellm_bench.filling import Own, fill
from oellm_bench.identifying import identity_of
from oellm_bench.placeholders import expand
from tests.conftest import CampaignFolder

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
LEAVES = st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)


def doubled(value):
    """Return a document whose braces are meant as such, as a user would write it."""
    if isinstance(value, str):
        return value.replace("{", "{{").replace("}", "}}")
    if isinstance(value, list):
        return [doubled(item) for item in value]
    return {doubled(key): doubled(item) for key, item in value.items()} if isinstance(value, dict) else value


@given(st.dictionaries(TEXT, VALUES, max_size=4))
def test_what_is_written_as_toml_reads_back_the_same(document):
    assert tomllib.loads(expand(toml_text(doubled(document)), lambda name: None)) == document


def test_null_is_left_out():
    assert tomllib.loads(toml_text({"a": {"b": None, "c": [1, None]}, "d": None})) == {"a": {"c": [1]}}


@given(TEXT)
def test_what_is_filled_in_stays_inside_its_string(value):
    text = expand(toml_text({"a": {"b": "x {it} y"}}), lambda name: in_string(value))
    assert tomllib.loads(text) == {"a": {"b": f"x {value} y"}}


def filled(campaign: CampaignFolder, **files):
    (point,) = configured_points(campaign.root(sweep="axes: {lr: ['a\"b']}").compose())
    launch = LaunchCommand(argv=("true",), files=files)
    return point, fill(launch, point, Own(id="abcdefgh", name="e", siblings={}), SessionLayout(campaign.out))[0].files


def test_placeholders_are_filled_in_and_escaped_where_the_kind_of_file_is_known(campaign):
    _, files = filled(campaign, **{"a.toml": 'lr = "{lr}"', "b.json": '{{"lr": "{lr}"}}', "c.txt": "{lr} {{}}"})
    assert files == {"a.toml": r'lr = "a\"b"', "b.json": r'{"lr": "a\"b"}', "c.txt": 'a"b {}'}


@pytest.mark.parametrize("name", ["a/b", "../a", "/a", "attempts", "results.json", ""])
def test_a_file_that_would_lie_elsewhere_or_on_something_of_ours_is_refused(campaign, name):
    with pytest.raises(ConfigError, match="cannot be a file of the entry"):
        filled(campaign, **{name: ""})


TITAN = "backend: {class_name: TitanBackend, sections: {model: {name: llama3, key: '${oc.env:MY_TOKEN,none}'}}}\n"


def test_a_link_does_not_hide_a_file_that_the_command_reads(campaign):
    problem = campaign.root(f"project: {{name: my, links: {{titan.toml: results.json}}}}\n{TITAN}").problem()
    assert "project.links.titan.toml: a link would take the place of 'titan.toml'" in problem


def test_keys_that_toml_cannot_tell_apart_are_refused(campaign):
    sections = "{model: {name: llama3, layers: [{1: a, '1': b}]}}"
    problem = campaign.root(f"backend: {{class_name: TitanBackend, sections: {sections}}}\n").problem()
    assert "backend.sections.model.layers.0.1: two keys are '1' in TOML" in problem


@pytest.mark.parametrize(
    "secret", ["plain-secret-1", 'with"quote\\and-more', 'w\N{LATIN SMALL LETTER O WITH ACUTE}th"quote']
)
def test_a_secret_in_a_file_is_refused_however_the_plan_and_the_file_spell_it(campaign, monkeypatch, secret):
    monkeypatch.setenv("MY_TOKEN", secret)
    campaign.root(TITAN)
    assert "the value of $MY_TOKEN would be written into the plan" in campaign.problem()


def test_files_are_a_part_of_what_an_entry_is_and_none_are_none(campaign):
    point, _ = filled(campaign)
    launches = [LaunchCommand(argv=("true",), files=files) for files in ({}, {"a": "1"}, {"a": "2"})]
    ids = [identity_of(point, launch, (), {}) for launch in launches]
    assert len(set(ids)) == 3
    assert ids[0] == identity_of(point, LaunchCommand(argv=("true",)), (), {})


@pytest.mark.parametrize("kind", ["files", "links"])
@pytest.mark.parametrize("name", ["../x", "/tmp/x", ".."])
def test_a_plan_that_would_have_the_job_write_elsewhere_is_none(campaign, tmp_path, kind, name):
    plan = campaign.root().plan().plan
    path = tmp_path / "sweep.json"
    path.write_text(to_text(replace(plan, entries=(replace(plan.entries[0], **{kind: {name: "x"}}),))))
    for read in (read_plan, partial(read_entry, index=0)):
        with pytest.raises(StateError, match="no name in the entry's folder"):
            read(path)
