"""Paths that a campaign names once: filled in, shown to containers, looked for by `plan --check`."""

from __future__ import annotations

import pytest

MODELS = "paths: {models: /p/models, my cache: '/p/c ache'}\ndatasets: {wiki: {parquet: /d/wiki}}\n"


def command(campaign, text, more=MODELS, sweep=""):
    return campaign.root(f"backend: {{class_name: CommandBackend, command: {text}}}\n{more}", sweep=sweep)


def test_a_path_is_filled_in_by_its_name(campaign):
    entry = command(campaign, "['{path:models}', 'a={path: my cache }/b', '{dataset:wiki,parquet}']").entry()
    assert entry.argv == ("/p/models", "a=/p/c ache/b", "/d/wiki")


def test_a_path_is_one_word_of_a_shell_line(campaign):
    assert command(campaign, '"ls {path:my cache}/x"').entry().argv[-1] == "ls '/p/c ache'/x"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{path:modls}", "did you mean 'path:models'?"),
        ("{paths:models}", "did you mean 'path:models'?"),
        ("{dataset:wikki,parquet}", "did you mean 'dataset:wiki,parquet'?"),
        ("{dataset:models}", "did you mean 'path:models'?"),
    ],
)
def test_a_name_that_no_path_has_is_refused_with_the_nearest(campaign, text, expected):
    problem = command(campaign, f"['{text}']").problem()
    assert "my.yaml:3: backend" in problem
    assert f"{text} has no value; {expected}" in problem


def test_where_no_path_has_a_name_the_form_is_told(campaign):
    assert "path:NAME" in command(campaign, "['{path:models}']", more="").problem()


def test_a_path_that_is_none_is_refused_where_it_stands(campaign):
    assert "my.yaml:4: paths: {'models': 7} is no" in command(campaign, "[x]", more="paths: {models: 7}").problem()


def test_a_path_can_be_swept(campaign):
    campaign = command(campaign, "['{path:models}']", sweep="axes: {paths.models: [/a, /b]}")
    assert [entry.argv for entry in campaign.entries()] == [("/a",), ("/b",)]


def test_naming_a_path_makes_no_other_experiment(campaign):
    """A campaign that says nothing of paths keeps the ids it had, and models that are moved stay the same models."""
    assert command(campaign, "[x]").entry().id == command(campaign, "[x]", more="").entry().id == "gzeitnyq"
    used = command(campaign, "['{path:models}']").entry().id
    assert used == command(campaign, "['{path:models}']", more="paths: {models: /elsewhere}").entry().id


def test_a_container_sees_what_has_a_name_and_may_only_read_it(campaign):
    more = "paths: {models: /p/models, same: /p/models, bucket: 's3://b', here: data}\n"
    prefix = command(campaign, "[x]", more).entry("container=apptainer", "container.image=/i.sif").launcher
    assert prefix.count("type=bind,src=/p/models,dst=/p/models,ro") == 1
    assert not [text for text in prefix if "s3:" in text or "data" in text]


def test_check_looks_for_every_path(campaign, cli, tmp_path):
    (tmp_path / "there").touch()
    campaign.root(f"paths: {{models: {tmp_path}/there, cache: /no/such, bucket: 's3://b'}}")
    done = cli("plan", "my", "-C", campaign.folder, "--output", campaign.out, "--fake", "--check")
    assert done.rc == 2, done.stderr
    assert [line for line in done.stderr.splitlines() if "not there" in line] == [
        "oellm-bench: paths.cache: '/no/such' is not there; correct the path, or mount what it lies on"
    ]


def test_with_another_path_it_is_another_plan(campaign):
    def fingerprint(model, other, word="{path:model}"):
        text = f"backend: {{class_name: CommandBackend, command: [run, '{word}']}}"
        return campaign.root(f"{text}\npaths: {{model: {model}, other: {other}}}").plan().plan.fingerprint

    assert fingerprint("/a", "/x") != fingerprint("/b", "/x")
    assert fingerprint("/a", "/x") == fingerprint("/a", "/y")  # which it does not use
    assert fingerprint("/a", "/x", "none") == fingerprint("/b", "/y", "none")
