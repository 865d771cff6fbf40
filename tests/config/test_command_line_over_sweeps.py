"""What the command line says goes over what a sweep says."""

from __future__ import annotations

STAGES = """
configs:
  - {stage: a, backend.args.n: 1, restart: never}
  - {stage: b, backend.args.n: 2, lr: 5}
"""


def parameters(entries):
    return [dict(entry.parameters) for entry in entries]


def test_a_value_takes_the_place_of_the_key_in_all_of_the_sweep(campaign):
    entries = campaign.root(sweep=STAGES).entries("backend.args.n=9")
    assert [entry.argv[-2:] for entry in entries] == [("--n", "9")] * 2
    assert parameters(entries) == [{"restart": "never", "stage": "a"}, {"stage": "b", "lr": 5}]


def test_defaults_and_base_values_give_way_and_points_that_are_the_same_then_are_one(campaign):
    sweep = "configs: [{backend.args.n: 1}, {backend.args.n: 2}]\ndefaults: {backend: {args: {m: 3}}}"
    entry = campaign.root(sweep=f"{sweep}\nbase_values: {{backend.args.k: 4}}").entries(
        "backend.args.n=7", "backend.args.m=8", "backend.args.k=9"
    )[0]
    assert len(campaign.entries("backend.args.n=7")) == 1
    assert sorted(zip(entry.argv[2::2], entry.argv[3::2], strict=True)) == [("--k", "9"), ("--m", "8"), ("--n", "7")]


def test_points_that_become_one_stand_where_the_first_of_them_stood(campaign):
    campaign.root(sweep="configs: [{m: 1, backend.args.n: 1}, {m: 2}, {m: 1, backend.args.n: 2}]")
    assert parameters(campaign.entries("backend.args.n=9")) == [{"m": 1}, {"m": 2}]


def test_a_choice_of_a_group_does_too(campaign):
    entries = campaign.root(sweep=STAGES).entries("restart=default")
    assert parameters(entries)[0] == {"stage": "a", "backend.args.n": 1}


def test_a_parameter_of_the_sweep_is_no_unknown_key(campaign):
    campaign.root(sweep="params: {lr: [1, 2], bs: [3, 4]}")
    assert parameters(campaign.entries("lr=7")) == [{"bs": 3, "lr": 7}, {"bs": 4, "lr": 7}]
    assert "unknown key 'lrr'" in campaign.problem("lrr=7")


def test_what_a_session_has_once_cannot_be_swept(campaign):
    problem = campaign.root(sweep="params: {slurm.max_submit: [1, 3]}").problem()
    assert "my.yaml:5: slurm.max_submit: 'slurm.max_submit' holds for a whole session" in problem
    assert campaign.root(sweep="params: {slurm.max_submit: [1], n: [1, 2]}").entries()


def test_a_whole_mapping_and_a_key_in_it_are_no_contradiction_and_the_key_wins(campaign):
    sweep = "configs: [{backend.args: {lr: 1, bs: 2}}]\nparams: {backend.args.seed: [3]}"
    assert campaign.root(sweep=sweep).entry().argv[-6:] == ("--lr", "1", "--bs", "2", "--seed", "3")
    clash = "configs: [{backend.args: {lr: 1}}]\nparams: {backend.args.lr: [3]}"
    assert "two parts of a product both set 'backend.args.lr'" in campaign.root(sweep=clash).problem()


def test_a_problem_of_one_stage_is_told_at_its_own_line(campaign):
    sweep = """
configs:
  - stage: a
    project.timeout_s: 60
  - stage: b
    project.timeout_s: soon
"""
    assert "my.yaml:9: project.timeout_s: 'soon' is not number" in campaign.root(sweep=sweep).problem()


def test_a_plan_that_would_be_another_one_each_time_is_refused(campaign):
    problem = campaign.root("slurm: {environment: {AT: '${now:%H%M%S}'}}").problem()
    assert "a plan has to be the same each time" in problem


def test_a_variable_that_is_named_by_its_value_is_refused(campaign):
    problem = campaign.root("slurm: {environment: {OUT: '${oc.env:$HOME,/d}'}}").problem()
    assert "write ${oc.env:HOME,...}" in problem


def test_more_points_than_any_cluster_takes_are_refused_before_they_are_made(campaign):
    axes = ", ".join(f"k{number}: {[*range(10)]}" for number in range(9))
    assert "the sweep has 1,000,000,000 points" in campaign.root(sweep=f"params: {{{axes}}}").problem()
