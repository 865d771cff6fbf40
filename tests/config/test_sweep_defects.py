"""What earlier tools got wrong with sweeps, each under what went wrong there."""

from __future__ import annotations

import json
import re

import pytest

from oellm_bench.cli.main import main
from oellm_bench.core.plan import to_text


def test_three_entries_of_a_project_called_run_10_got_two_names(campaign):
    campaign.root("project: {name: run_10}", sweep="params: {x: [0, 1, 2]}\nname_template: 'run_10_{x}'")
    assert [entry.name for entry in campaign.entries()] == ["run_10_0", "run_10_1", "run_10_2"]


def test_a_name_that_is_the_same_for_all_was_given_to_all(campaign):
    said = campaign.root(sweep="params: {x: [0, 1, 10]}\nname_template: run_10").problem()
    assert "two entries would be called 'run_10'" in said


def test_all_entries_were_rendered_into_one_script(campaign):
    plan = campaign.root(sweep="params: {x: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}").plan()
    assert len(plan.scripts) == len({entry.script for entry in plan.plan.entries}) == 10
    assert len({*plan.scripts.values()}) == 10


def test_an_item_with_a_comma_became_two_and_one_with_brackets_a_list(campaign):
    entries = campaign.root(sweep="params: {backend.args.n: ['c,d', '[abc]']}").entries()
    assert [entry.argv[-1] for entry in entries] == ["c,d", "[abc]"]


@pytest.mark.parametrize("kind", ["product", "list"])
@pytest.mark.parametrize("inner", ["params: {x: [1, 2, 3]}", "configs: [{x: 1}, {x: 2}, {x: 3}]"])
def test_a_filter_was_ignored_in_a_list_of_groups(campaign, kind, inner):
    sweep = f"type: {kind}\ngroups: [{{type: list, {inner}, filter: x != 2}}]\nfilter: x < 3"
    assert [entry.parameters["x"] for entry in campaign.root(sweep=sweep).entries()] == [1]


def test_of_several_entries_that_a_reference_fits_the_first_was_taken(campaign):
    sweep = "configs: [{stage: a, x: 1}, {stage: a, x: 2}, {stage: b, y: '${sibling:a.name}'}]"
    assert "2 entries fit: (x=1) and (x=2)" in campaign.root(sweep=sweep).problem()


def test_a_reference_had_to_be_escaped_twice(campaign):
    campaign.root(
        sweep="""
        params: {lr: [1, 2]}
        configs:
          - {stage: train, backend.args.save: "{session_entry_dir}"}
          - {stage: eval, backend.args.load: "${sibling:train.output_dir}"}
        name_template: "{stage}_{lr}"
        """
    )
    by_name = {entry.name: entry for entry in campaign.entries()}
    for lr in (1, 2):
        saved, loaded = by_name[f"train_{lr}"], by_name[f"eval_{lr}"]
        assert loaded.argv[-1] == saved.argv[-1] and saved.argv[-1].endswith(f"/entries/train_{lr}")


def test_a_second_stage_carried_the_whole_configuration_of_the_first(campaign):
    grid = "params: {lr: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]}"
    alone = campaign.root(sweep=f"{grid}\nconfigs: [{{stage: a}}, {{stage: b}}]").plan().plan
    both = campaign.root(sweep=f"{grid}\nconfigs: [{{stage: a}}, {{stage: b, x: '${{sibling:a.name}}'}}]").plan().plan
    assert len(both.entries) == len(alone.entries) == 20
    more = (len(to_text(both)) - len(to_text(alone))) / 10
    assert 0 < more < 200  # bytes for each reference: an id, a name


def test_a_wrong_option_of_sbatch_was_put_into_the_script(campaign):
    said = campaign.root(sweep="params: {slurm.sbatch.nodez: [3]}").problem()
    assert "my.yaml:5: slurm.sbatch.nodez" in said and "did you mean 'nodes'?" in said


@pytest.mark.parametrize("imports", ["__import__", "getattr(__builtins__, '__imp' + 'ort__')"])
def test_python_in_a_configuration_was_run(campaign, capsys, tmp_path, imports):
    called = tmp_path / "called"
    campaign.root(
        sweep=f"""
        params:
          x:
            - >-
              ${{oc.eval:"{imports}('os').mkdir('{called}')"}}
    """
    )
    assert main(["plan", "my", "-C", str(campaign.folder), "--output", str(campaign.out)]) == 2
    (message,) = capsys.readouterr().err.splitlines()
    assert "my.yaml:" in message and "oc.eval" in message
    assert not called.exists()


def test_python_in_a_filter_was_run(campaign, tmp_path):
    called = tmp_path / "called"
    said = campaign.root(sweep=f'params: {{x: [1]}}\nfilter: \'__import__("os").mkdir("{called}") == x\'').problem()
    assert "a call" in said and not called.exists()


def test_the_last_of_two_equal_keys_won(campaign):
    campaign.root(sweep="params: {a: [1]}\nparams: {b: [1]}")
    for _ in range(2):  # it was an error only before the first configuration had been read
        assert "my.yaml:6: found duplicate key params" in campaign.problem()


def test_a_template_could_not_name_a_key_with_dots(campaign):
    sweep = "params: {backend.args.lr: [0.1], backend.args.bs: [8]}\nname_template: '{backend.args.lr}_{bs}'"
    assert campaign.root(sweep=sweep).entry().name == "0.1_8"


def test_a_new_value_renumbered_all_that_follow(campaign):
    before = campaign.root(sweep="params: {x: [1, 3]}").entries()
    plan = campaign.root(sweep="params: {x: [1, 2, 3]}").plan(previous={entry.id: entry.index for entry in before})
    assert {entry.parameters["x"]: entry.index for entry in plan.plan.entries} == {1: 0, 3: 1, 2: 2}


def test_entries_of_a_sweep_shared_a_folder_and_a_log(campaign):
    plan = campaign.root(sweep="params: {x: [1, 2]}").plan()
    for entry in plan.plan.entries:  # its folder has its name, and the logs are in there
        told = re.findall(r"^entry=(\S+) name=(\S+)$", plan.scripts[entry.script], re.MULTILINE)
        assert told == [(entry.id, entry.name)]
    assert len({entry.name for entry in plan.plan.entries}) == 2


def test_a_plan_was_another_one_each_time(campaign):
    sweep = "params: {x: [1, 2]}\nconfigs: [{stage: a}, {stage: b, y: '${sibling:a.name}'}]"
    first, second = (campaign.root(sweep=sweep).plan().plan for _ in range(2))
    assert to_text(first) == to_text(second)


def test_every_entry_of_a_sweep_can_be_read_back(campaign):
    """Values that are texts stay texts on their way through `sweep.json`."""
    plan = campaign.root(sweep="params: {x: ['1e3', 1e3, null, true]}\nname_template: '{id}'").plan().plan
    read = json.loads(to_text(plan))["entries"]
    assert [entry["parameters"]["x"] for entry in read] == ["1e3", 1000.0, None, True]
