"""Who waits for whom, and what stands in front of a command."""

from __future__ import annotations

import itertools
import json

import pytest

from oellm_bench.job.attempt import Attempt

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
        ("{class_name: CommandCondition, command: []}", "there is no command"),
        ("{class_name: CommandCondition, command: [x], timeout_s: 0}", "0.0 cannot work; give more than 0"),
        ("{class_name: FileExistsCondition, path: ''}", "it is empty"),
        ("{class_name: ElapsedCondition, seconds: 1, of: running}", "a job has to run for this to hold"),
        ("{class_name: EntryStateCondition, entry: '{entry_name}'}", "in a circle: lr1 -> lr1"),
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


def attempt(campaign, config):
    return Attempt(entry=campaign.root(config).entry(), number=1, session=campaign.out)


def test_srun_and_its_options_come_first(campaign):
    slurm = "{srun: {ntasks: 4, cpu_bind: none, overlap: true, label: false}, launcher_cmd: x y}"
    assert attempt(campaign, f"slurm: {slurm}").launcher == (
        *("srun", "--ntasks=4", "--cpu-bind=none", "--overlap"),
        *("x", "y"),
    )


def passing(command):
    return "slurm: " + json.dumps(
        {"environment": {"A": "b, c"}, "launcher_cmd": command, "launcher_env_passthrough": True}
    )


def test_apptainer_gets_the_environment_as_variables_of_its_own(campaign):
    found = attempt(campaign, passing("apptainer exec --nv image.sif"))
    assert found.launcher == ("apptainer", "exec", "--nv", "image.sif")
    added = found.additions()
    assert (added["A"], added["APPTAINERENV_A"], added["SINGULARITYENV_A"]) == ("b, c", "b, c", "b, c")
    assert added["APPTAINERENV_OELLM_BENCH_ATTEMPT"] == "1"


@pytest.mark.parametrize(
    ("command", "start"),
    [("docker run --rm image", ["docker", "run"]), ("numactl podman exec box", ["numactl", "podman", "exec"])],
)
def test_an_engine_is_told_the_names(campaign, command, start, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    launcher = list(attempt(campaign, passing(command)).launcher)
    assert launcher[: len(start)] == start
    names = [name for flag, name in itertools.pairwise(launcher) if flag == "--env"]
    assert {"A", "OELLM_BENCH_RESULTS_PATH", "SLURM_JOB_ID"} <= set(names)
    assert " ".join(launcher).endswith(command.removeprefix(" ".join(start)))


def test_srun_hands_on_what_it_has(campaign):
    found = attempt(campaign, passing("srun --mpi=none"))
    assert found.launcher == ("srun", "--mpi=none") and found.additions()["A"] == "b, c"


@pytest.mark.parametrize(
    ("slurm", "what"),
    [
        ("{launcher_cmd: my-wrapper, launcher_env_passthrough: true}", "how 'my-wrapper' takes variables"),
        ("{launcher_cmd: docker compose up, launcher_env_passthrough: true}", "how 'docker' takes variables"),
        ("{srun: {ntasks: 0}}", "'0' is no value of --ntasks"),
        ("{monitor_job: {tiem: 1}}", "sbatch has no option 'tiem'"),
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
