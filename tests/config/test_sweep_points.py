"""From the declaration of a sweep to entries: which ones, with which values, under which names."""

from __future__ import annotations

import itertools

import pytest

import oellm_bench.config.compose


def parameters(entries):
    return [dict(entry.parameters) for entry in entries]


def identities(entries):
    return {tuple(entry.parameters.items()): (entry.id, entry.name) for entry in entries}


def test_without_a_sweep_there_is_one_entry_named_after_the_project(campaign):
    entry = campaign.root().entry()
    assert (entry.index, entry.name, dict(entry.parameters)) == (0, "my", {})


def test_a_mapping_of_axes_is_their_product_with_the_last_turning_fastest(campaign):
    entries = campaign.root(sweep="axes: {lr: [1.0e-4, 5.0e-4], bs: [64, 128, 256]}").entries()
    pairs = itertools.product([1e-4, 5e-4], [64, 128, 256])
    assert parameters(entries) == [{"lr": lr, "bs": bs} for lr, bs in pairs]
    assert [entry.index for entry in entries] == [0, 1, 2, 3, 4, 5]


def test_a_list_of_mappings_is_its_alternatives(campaign):
    entries = campaign.root(
        sweep="""
        axes:
          - {lr: 1, bs: [2, 3]}
          - {lr: 5}
    """
    ).entries()
    assert parameters(entries) == [{"lr": 1, "bs": 2}, {"lr": 1, "bs": 3}, {"lr": 5}]


def test_base_values_hold_unless_an_axis_says_otherwise(campaign):
    entries = campaign.root(
        sweep="""
        base_values: {lr: 7, warmup: 10}
        axes: [{lr: [1]}, {bs: [2]}]
    """
    ).entries()
    assert parameters(entries) == [{"lr": 1, "warmup": 10}, {"lr": 7, "warmup": 10, "bs": 2}]


def test_an_axis_of_the_command_line_multiplies_the_declared_ones(campaign):
    entries = campaign.root(sweep="axes: {lr: [1, 2]}").entries("bs=8,16")
    assert parameters(entries) == [
        {"lr": 1, "bs": 8},
        {"lr": 1, "bs": 16},
        {"lr": 2, "bs": 8},
        {"lr": 2, "bs": 16},
    ]


def test_an_axis_of_the_command_line_replaces_a_declared_one_of_its_name(campaign):
    entries = campaign.root(sweep="axes: {lr: [1, 2], bs: [3]}").entries("lr=5,6")
    assert sorted(entry.parameters["lr"] for entry in entries) == [5, 6]


@pytest.mark.parametrize(
    ("override", "values"),
    [
        ("n=1,2,3", [1, 2, 3]),
        ("n=1,2.5,x", [1, 2.5, "x"]),
        ("n='c,d','[a]'", ["c,d", "[a]"]),
        ("n='1e3',1e3", ["1e3", 1000.0]),
        ("n=null,true,false", [None, True, False]),
        ("n='null','true'", ["null", "true"]),
        ("n=[1,2],[3]", [[1, 2], [3]]),
        ("n=[a,'b,c'],[]", [["a", "b,c"], []]),
        ("n=range(1,4)", [1, 2, 3]),
        ("n=choice(a,b)", ["a", "b"]),
    ],
)
def test_values_of_the_command_line_keep_their_types(campaign, override, values):
    entries = campaign.root().entries(override)
    found = [entry.parameters["n"] for entry in entries]
    assert [(type(value), value) for value in found] == [(type(value), value) for value in values]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ('["c,d", "[a]", "{b}"]', ["c,d", "[a]", "{b}"]),
        ('["1e3", 1e3, 1000]', ["1e3", 1000.0, 1000]),
        ('["007", 7, 7.0]', ["007", 7, 7.0]),
        ("[null, 5]", [None, 5]),
        ('[true, false, "yes"]', [True, False, "yes"]),
        ("[[1, 2], [], 3]", [[1, 2], [], 3]),
        ('["a b", "", "ü"]', ["a b", "", "ü"]),
    ],
)
def test_values_of_a_file_keep_their_types(campaign, text, values):
    entries = campaign.root(sweep=f"axes: {{n: {text}}}\nname_template: 'v{{id}}'").entries()
    found = [entry.parameters["n"] for entry in entries]
    assert [(type(value), value) for value in found] == [(type(value), value) for value in values]


def test_a_dotted_key_reaches_the_configuration(campaign):
    entries = campaign.root(
        sweep="""
        axes:
          project.timeout_s: [60, 120]
          slurm.sbatch.partition: [cpu, gpu]
          backend.args.n: [5]
    """
    ).entries()
    assert [entry.timeout_s for entry in entries] == [60, 60, 120, 120]
    assert [entry.argv for entry in entries] == [("echo", "hello", "--n", "5")] * 4
    scripts = campaign.plan().scripts
    assert ["--partition=cpu" in scripts[entry.script] for entry in entries] == [True, False, True, False]


def test_a_dotted_key_of_a_list_changes_one_item(campaign):
    campaign.root("""
        requirements:
          - {metric: speed, min_value: 1.0}
          - {metric: loss, max_value: 2.0}
    """)
    first, second = campaign.entries("requirements.1.max_value=3.0,4.0")
    assert [requirement.max_value for requirement in first.requirements] == [None, 3.0]
    assert [requirement.max_value for requirement in second.requirements] == [None, 4.0]


def test_a_mapping_can_be_swept_as_a_whole(campaign):
    entries = campaign.root(sweep="axes: {backend.args: [{n: 1, tag: a}, {n: 2}]}\nname_template: '{id}'").entries()
    assert [entry.argv[2:] for entry in entries] == [("--n", "1", "--tag", "a"), ("--n", "2")]


FOLLOWING = {
    "absolute": ("{n: 1, m: '${backend.args.n}'}", ["1", "2"]),
    "relative": ("{n: 1, m: '${.n}'}", ["1", "2"]),
    "transitive": ("{n: 1, k: '${.n}', m: '${backend.args.k}'}", ["1", "2"]),
    "inside text": ("{n: 1, m: 'x${.n}y'}", ["x1y", "x2y"]),
    "through a resolver": ("{n: 1, m: '${oc.select:backend.args.n}'}", ["1", "2"]),
    "a transitive one with text": ("{n: 1, k: 'v${.n}', m: '${.k}w'}", ["v1w", "v2w"]),
}


@pytest.mark.parametrize(("args", "expected"), FOLLOWING.values(), ids=FOLLOWING.keys())
def test_an_interpolation_follows_the_swept_key(campaign, args, expected):
    campaign.root(f"backend: {{class_name: CommandBackend, command: [echo], args: {args}}}")
    entries = campaign.entries("backend.args.n=1,2")
    assert [entry.argv[entry.argv.index("--m") + 1] for entry in entries] == expected


def test_an_interpolation_whose_target_is_swept_follows_it(campaign):
    campaign.root(
        "backend: {class_name: CommandBackend, command: [echo], "
        "args: {which: x, x: 1, y: 2, m: '${backend.args.${.which}}'}}"
    )
    assert [entry.argv[-1] for entry in campaign.entries("backend.args.which=x,y")] == ["1", "2"]


def test_an_interpolation_over_two_swept_keys_sees_both_of_this_point(campaign):
    campaign.root(
        "backend: {class_name: CommandBackend, command: [echo], "
        "args: {a: 0, b: 0, m: '${backend.args.a}-${backend.args.b}'}}",
        sweep="axes: {backend.args.a: [1, 2], backend.args.b: [3, 4]}",
    )
    assert [entry.argv[-1] for entry in campaign.entries()] == ["1-3", "1-4", "2-3", "2-4"]


def test_a_key_that_an_alternative_leaves_alone_keeps_its_own_value_there(campaign):
    campaign.root(
        "backend: {class_name: CommandBackend, command: [echo], "
        "args: {a: 0, b: 9, m: '${backend.args.a}-${backend.args.b}'}}",
        sweep="axes: [{backend.args.a: [1, 2]}, {backend.args.b: [5]}]",
    )
    assert [entry.argv[-1] for entry in campaign.entries()] == ["1-9", "2-9", "0-5"]


def test_a_mapping_swept_as_a_whole_leaves_nothing_of_the_one_before(campaign):
    campaign.root(
        "backend: {class_name: CommandBackend, command: [echo, '${oc.select:backend.args.tag,none}'], args: {}}",
        sweep="axes: {backend.args: [{n: 1, tag: a}, {n: 2}]}\nname_template: '{id}'",
    )
    assert [entry.argv[1] for entry in campaign.entries()] == ["a", "none"]


def test_a_swept_key_may_follow_another_one(campaign):
    campaign.root(
        "backend: {class_name: CommandBackend, command: [echo], args: {a: 0, b: '${.a}'}}",
        sweep="axes: [{backend.args.a: [1, 2]}, {backend.args.b: [5]}]",
    )
    assert [entry.argv[1:] for entry in campaign.entries()] == [
        ("--a", "1", "--b", "1"),
        ("--a", "2", "--b", "2"),
        ("--a", "0", "--b", "5"),
    ]


def test_points_share_nothing_that_one_of_them_changes(campaign):
    campaign.root(
        "backend: {class_name: CommandBackend, command: [echo], args: {a: 0, b: 0}}",
        sweep="axes: [{backend.args.a: 1}, {backend.args.b: 2}]",
    )
    assert [entry.argv[1:] for entry in campaign.entries()] == [("--a", "1", "--b", "0"), ("--a", "0", "--b", "2")]


@pytest.fixture
def compositions(monkeypatch):
    """Count the calls of Hydra; they go through."""
    calls = []
    compose = oellm_bench.config.compose.compose

    def counted(*args, **kwargs):
        calls.append(args)
        return compose(*args, **kwargs)

    monkeypatch.setattr(oellm_bench.config.compose, "compose", counted)
    return calls


def test_hydra_composes_once_however_many_points_there_are(campaign, compositions):
    campaign.root(
        "backend: {class_name: CommandBackend, command: [echo], args: {n: 0, m: '${.n}'}}",
        sweep="axes: {backend.args.n: [1, 2, 3, 4, 5], bs: [1, 2, 3, 4, 5, 6, 7, 8]}",
    )
    assert len(campaign.entries()) == 40
    assert len(compositions) == 1


def test_hydra_composes_once_more_per_distinct_choice_of_groups(campaign, compositions):
    campaign.root(sweep="axes: {lr: [1, 2, 3, 4, 5]}")
    assert len(campaign.entries("slurm=fake,local", "restart=default,never,more_time")) == 30
    assert len(compositions) == 6


def test_a_group_can_be_swept_on_the_command_line(campaign):
    campaign.root(sweep="axes: {lr: [1, 2]}")
    campaign.write("client: {class_name: SlurmClient}\nsbatch: {partition: big}", "slurm/big")
    plan = campaign.plan("slurm=local,big")
    assert parameters(plan.plan.entries) == [
        {"slurm": "local", "lr": 1},
        {"slurm": "local", "lr": 2},
        {"slurm": "big", "lr": 1},
        {"slurm": "big", "lr": 2},
    ]
    assert ["--partition=big" in plan.scripts[entry.script] for entry in plan.plan.entries] == [
        False,
        False,
        True,
        True,
    ]


def test_a_group_can_be_swept_by_an_axis(campaign):
    campaign.root(sweep="axes: {ray: ['off', head], lr: [1]}")
    assert [(entry.parameters["ray"], entry.ray.enabled) for entry in campaign.entries()] == [
        ("off", False),
        ("head", True),
    ]


def test_a_new_value_renames_and_renumbers_no_other_entry(campaign):
    before = campaign.root(sweep="axes: {lr: [1, 2], bs: [8, 16]}").entries()
    after = campaign.root(sweep="axes: {lr: [0, 1, 2], bs: [8, 12, 16]}").entries()
    kept = identities(after)
    assert {key: kept[key] for key in identities(before)} == identities(before)


def test_planning_again_keeps_the_indices_of_known_entries_and_appends_new_ones(campaign):
    before = campaign.root(sweep="axes: {lr: [1, 2]}").entries()
    previous = {entry.id: entry.index for entry in before}
    campaign.root(sweep="axes: {lr: [0, 1, 1.5, 2]}")
    after = campaign.plan(previous=previous).plan.entries
    assert [(entry.index, entry.parameters["lr"]) for entry in after] == [(0, 1), (1, 2), (2, 0), (3, 1.5)]


def test_an_index_that_was_taken_away_is_not_given_to_another_entry(campaign):
    before = campaign.root(sweep="axes: {lr: [1, 2, 3]}").entries()
    previous = {entry.id: entry.index for entry in before}
    campaign.root(sweep="axes: {lr: [1, 3, 4]}")
    after = campaign.plan(previous=previous).plan.entries
    assert [(entry.index, entry.parameters["lr"]) for entry in after] == [(0, 1), (2, 3), (3, 4)]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("slurm.sbatch.partition=other", id="where it runs"),
        pytest.param("project.base_output_dir=elsewhere", id="where it writes"),
        pytest.param("project.timeout_s=61", id="how long it may run"),
    ],
)
def test_an_entry_keeps_its_identity_when_only_its_surroundings_change(campaign, change):
    campaign.root(sweep="axes: {lr: [1]}")
    assert campaign.entry(change).id == campaign.entry().id


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("lr=2", id="a parameter"),
        pytest.param("backend.args.n=1", id="an argument"),
        pytest.param("backend.environment.A=b", id="the environment"),
        pytest.param("project.name=other", id="the project"),
        pytest.param("ray=head", id="a Ray head"),
    ],
)
def test_an_entry_that_runs_something_else_is_another_entry(campaign, change):
    campaign.root(sweep="axes: {lr: [1], slow: [false]}" if change != "lr=2" else "axes: {lr: [1, 2]}")
    changed = campaign.entries() if change == "lr=2" else (campaign.entry(), campaign.entry(change))
    assert len({entry.id for entry in changed}) == 2


def test_the_name_template_is_filled_by_key_by_suffix_and_by_id(campaign):
    (entry,) = campaign.root(
        sweep="axes: {lr: [0.5], backend.args.n: [3]}\nname_template: 'lr{lr}_n{n}_{backend.args.n}_{id}'"
    ).entries()
    assert entry.name == f"lr0.5_n3_3_{entry.id}"


REFUSED = {
    "repeated value": ("axes: {lr: [1, 1]}", ["my.yaml:5: lr", "the value 1 more than once"]),
    "repeated alternative": ("axes: [{lr: 1}, {lr: [1, 2]}]", ["my.yaml:5: sweep.axes", "{'lr': 1}"]),
    "axis without values": ("axes: {lr: [], bs: [1]}", ["my.yaml:5: lr", "'lr' has no values"]),
    "text for axes": ("axes: lr", ["my.yaml:5: sweep.axes"]),
    "empty list": ("axes: []", ["my.yaml:5: sweep.axes", "no sweep"]),
    "list of values": ("axes: [1, 2]", ["my.yaml:5: sweep.axes", "1"]),
    "unknown key": ("axis: {lr: [1]}", ["my.yaml:5: sweep.axis", "did you mean 'axes'?"]),
    "unknown section": ("axes: {slrum.array: [true]}", ["my.yaml:5: slrum.array", "did you mean 'slurm'?"]),
    "unknown field": ("axes: {project.timeout: [1]}", ["my.yaml:5: project.timeout", "did you mean 'timeout_s'?"]),
    "value of another type": ("axes: {project.timeout_s: [1, soon]}", ["my.yaml:5: project.timeout_s", "'soon'"]),
    "item that is not there": ("axes: {requirements.7.min_value: [1.0]}", ["my.yaml:5: ", "requirements.7.min_value"]),
    "item by a name": ("axes: {requirements.x.min_value: [1.0]}", ["my.yaml:5: ", "requirements.x.min_value"]),
    "not finite": ("axes: {lr: [1, .nan]}", ["my.yaml:5: sweep.axes.lr.1", "nan"]),
    "names fall together": ("axes: {lr: [1, 2]}\nname_template: same", ["my.yaml:6: ", "'same'", "{lr}"]),
    "names differ in type only": ("axes: {lr: [1, '1']}", ["my.yaml", "'lr1'", "{id}"]),
    "unknown placeholder": ("axes: {lr: [1]}\nname_template: 'l{rl}'", ["my.yaml:6: sweep.name_template", "{rl}"]),
    "stray brace": ("axes: {lr: [1]}\nname_template: 'l{lr'", ["my.yaml:6: sweep.name_template", "'l{lr'"]),
    "blank in template": ("axes: {lr: [1]}\nname_template: 'l {lr}'", ["my.yaml:6: sweep.name_template", "'l {lr}'"]),
    "quote in template": ('axes: {lr: [1]}\nname_template: "l\'{lr}"', ["my.yaml:6: sweep.name_template"]),
    "semicolon in template": ("axes: {lr: [1]}\nname_template: 'l;{lr}'", ["my.yaml:6: sweep.name_template"]),
    "slash in template": ("axes: {lr: [1]}\nname_template: '../{lr}'", ["my.yaml:6: sweep.name_template"]),
    "built-in name": ("axes: {entry_name: [1, 2]}", ["entry_name", "built-in"]),
}


@pytest.mark.parametrize(("sweep", "expected"), REFUSED.values(), ids=REFUSED.keys())
def test_a_sweep_that_cannot_be_meant_is_refused(campaign, sweep, expected):
    problem = campaign.root(sweep=sweep).problem()
    assert [text for text in expected if text not in problem] == []


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("lr=1,1", "-o lr=1,1"),
        ("lr=interval(0,1)", "-o lr=interval(0,1)"),
        ("lr=choice()", "-o lr=choice()"),
        ("project.timeout=1,2", "did you mean 'timeout_s'?"),
        ("slurm=fake,lokal", "did you mean 'local'?"),
        ("lr=inf,1", "inf"),
    ],
)
def test_a_sweep_of_the_command_line_that_cannot_be_meant_is_refused(campaign, override, expected):
    problem = campaign.root().problems(override)[0]
    assert expected in problem
    assert override in problem or "'lokal'" in problem


def test_every_wrong_value_of_a_sweep_is_reported_not_only_the_first(campaign):
    problems = campaign.root(sweep="axes: {project.timeout_s: [soon, 60, later]}").problems()
    assert len(problems) == 2
    assert "'soon'" in problems[0]
    assert "'later'" in problems[1]


@pytest.mark.parametrize("axes", ["{1: [a]}", "[{1: a}]"], ids=["mapping", "list"])
def test_an_axis_whose_name_yaml_reads_as_a_number_is_refused(campaign, axes):
    problem = campaign.root(sweep=f"axes: {axes}").problem()
    assert f"{campaign.folder / 'my.yaml'}:5: sweep.axes" in problem
    assert "1 as no text; put it in quotes" in problem


def test_axes_that_are_there_and_empty_are_no_sweep(campaign):
    problem = campaign.root(sweep="axes: {}").problem()
    assert "my.yaml:" in problem and "the sweep has no axes" in problem


def test_without_axes_there_is_one_entry_with_the_base_values(campaign):
    entry = campaign.root(sweep="base_values: {lr: 1}").entry()
    assert entry.parameters == {"lr": 1}


def test_a_mapping_where_a_list_has_to_stand_is_told_with_what_to_write(campaign):
    """What is left of a list of one when a sweep has taken the list for its values."""
    condition = "{class_name: FileExistsCondition, path: x}"
    sweep = f"axes: [{{x: [1], monitoring.start_conditions: [{condition}]}}]"
    said = campaign.root(sweep=sweep).problem()
    assert "a mapping stands where a list has to" in said and "[[{...}]]" in said
