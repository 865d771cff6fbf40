"""Who waits for whom, and what stands in front of a command."""

from __future__ import annotations

import json

import pytest

STAGES = """
axes:
  - {stage: stable, lr: [1, 2]}
  - {stage: decay, lr: [1, 2], slurm.after: ["%s"]}
name_template: "{stage}_lr{lr}"
"""


def named(campaign, after):
    entries = campaign.root("", sweep=STAGES % after).entries()
    names = {entry.id: entry.name for entry in entries}
    return {entry.name: [names[other] for other in entry.after] for entry in entries}


def test_an_entry_waits_for_the_one_it_names(campaign):
    assert named(campaign, "stable_lr{lr}") == {
        "stable_lr1": [],
        "stable_lr2": [],
        "decay_lr1": ["stable_lr1"],
        "decay_lr2": ["stable_lr2"],
    }


def test_a_pattern_names_many_and_never_the_entry_itself(campaign):
    assert named(campaign, "*_lr1")["decay_lr2"] == ["stable_lr1", "decay_lr1"]
    assert named(campaign, "stable_*")["decay_lr1"] == ["stable_lr1", "stable_lr2"]


@pytest.mark.parametrize(
    ("after", "what", "fix"),
    [
        ("stabel_lr{lr}", "no other entry is called 'stabel_lr1'", "did you mean 'stable_lr1'?"),
        ("decay_lr{lr}", "no other entry is called 'decay_lr1'", ""),
        ("stable_lr{rl}", "{rl} has no value", "{{ and }}"),
        ("stable_lr{lr", "single '{'", ""),
    ],
)
def test_a_name_that_fits_nothing_is_refused(campaign, after, what, fix):
    problems = campaign.root("", sweep=STAGES % after).problems()
    assert any(what in problem and fix in problem and "my.yaml:" in problem for problem in problems)


def test_a_circle_is_refused_with_its_members(campaign):
    circle = """
    axes:
      - {stage: a, slurm.after: [c]}
      - {stage: b, slurm.after: [a]}
      - {stage: c, slurm.after: [b]}
    name_template: "{stage}"
    """
    problem = campaign.root("", sweep=circle).problem()
    assert "wait for each other in a circle" in problem
    assert all(name in problem for name in ("a", "b", "c"))


def test_any_of_cannot_be_added_to(campaign):
    text = "slurm: {sbatch: {dependency: 'afterok:1?afterok:2'}}\n"
    problems = campaign.root(text, sweep=STAGES % "stable_lr{lr}").problems()
    assert all("cannot stand beside slurm.after" in problem for problem in problems)


def test_what_is_waited_for_is_part_of_the_plan_and_not_of_the_entries(campaign):
    sweep = "axes: {n: [1, 2]}\nname_template: 'n{n}'"
    plans = [
        campaign.root(f"slurm: {{after_type: {kind}}}", sweep=sweep).plan().plan for kind in ("afterok", "afterany")
    ]
    assert [entry.id for entry in plans[0].entries] == [entry.id for entry in plans[1].entries]
    ordered = campaign.root("", sweep=STAGES % "stable_lr{lr}").plan().plan
    other = campaign.root("", sweep=STAGES % "stable_lr1").plan().plan
    assert ordered.fingerprint != other.fingerprint


def condition(campaign, text):
    return campaign.root(f"monitoring: {{start_conditions: [{text}]}}", sweep="axes: {lr: [1]}")


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("{class_name: FileExistsCondition, path: 'x{nope}'}", "{nope} has no value"),
        ("{class_name: EntryStateCondition, entry: 'other'}", "no entry is called 'other'"),
        ("{class_name: FileContentCondition, path: x}", "either contains or pattern is needed"),
        ("{class_name: FileContentCondition, path: x, pattern: '('}", "is no regular expression"),
        ('{class_name: CommandCondition, command: "sh \'x"}', "No closing quotation"),
        ("{class_name: AndCondition, conditions: []}", "there are no conditions"),
        (
            "{class_name: NotCondition, condition: {class_name: OrCondition, conditions: [{class_name: "
            "FileContentCondition, path: x}]}}",
            "either contains or pattern is needed",
        ),
        ("{class_name: FileExistCondition, path: x}", "did you mean 'FileExistsCondition'?"),
        ("{path: x}", "class_name is missing"),
    ],
)
def test_a_condition_that_cannot_be_asked_is_refused(campaign, text, what):
    problem = condition(campaign, text).problem()
    assert what in problem and "my.yaml:" in problem


def launched(campaign, slurm):
    entry = campaign.root(f"slurm: {slurm}").entry()
    return list(entry.launcher), dict(entry.environment)


def test_srun_and_its_options_come_first(campaign):
    launcher, _ = launched(
        campaign, "{srun: {ntasks: 4, cpu_bind: none, overlap: true, label: false}, launcher_cmd: x y}"
    )
    assert launcher == ["srun", "--ntasks=4", "--cpu-bind=none", "--overlap", "x", "y"]


@pytest.mark.parametrize(
    ("command", "launcher", "more"),
    [
        (
            "apptainer exec --nv image.sif",
            ["apptainer", "exec", "--nv", "image.sif"],
            {"APPTAINERENV_A": "b, c", "SINGULARITYENV_A": "b, c"},
        ),
        ("docker run --rm image", ["docker", "run", "--env", "A", "--rm", "image"], {}),
        ("numactl podman exec box", ["numactl", "podman", "exec", "--env", "A", "box"], {}),
        ("srun --mpi=none", ["srun", "--mpi=none"], {}),
    ],
)
def test_the_environment_is_handed_on_into_a_container(campaign, command, launcher, more):
    slurm = {"environment": {"A": "b, c"}, "launcher_cmd": command, "launcher_env_passthrough": True}
    assert launched(campaign, json.dumps(slurm)) == (launcher, {"A": "b, c", **more})


@pytest.mark.parametrize(
    ("slurm", "what"),
    [
        ("{launcher_cmd: my-wrapper, launcher_env_passthrough: true}", "how 'my-wrapper' takes variables"),
        ("{srun: {ntask: 4}}", "srun has no option 'ntask'; did you mean 'ntasks'?"),
        ("{array: true, hetjob: [{nodes: 2}]}", "SLURM has no arrays of heterogeneous jobs"),
        ("{hetjob: [{nodes: 2}, {node: 2}]}", "sbatch has no option 'node'; did you mean 'nodes'?"),
    ],
)
def test_a_launcher_or_component_that_cannot_work_is_refused(campaign, slurm, what):
    problem = campaign.root(f"slurm: {slurm}").problem()
    assert what in problem and "my.yaml:" in problem


def test_all_components_of_a_heterogeneous_job_count(campaign):
    text = "slurm: {sbatch: {nodes: 1, time: '1:00:00'}, hetjob: [{nodes: 2, gpus-per-node: 4}, {nodes: 3}]}"
    resources = campaign.root(text).entry().resources
    assert (resources.nodes, resources.gpus, resources.walltime_s) == (6, 8, 3600)
