"""Recipes 3 and 4: the same commands on the embedded scheduler and on a real SLURM cluster, as jobs and as an array."""

from __future__ import annotations

import json

import pytest

from tests.cluster.real_slurm import running_cluster

BASE = "scratch/me/oellm-bench"  # what project=juwels makes of $SCRATCH and $USER
QUICK = " -o slurm.client.calls_per_s=50 --interval 0.5"  # only this test is on the cluster


@pytest.fixture(scope="module")
def booster(tmp_path_factory):
    """A cluster whose nodes and partition are those that slurm=juwels asks for."""
    extra = tmp_path_factory.mktemp("slurm") / "extra.conf"
    extra.write_text("PartitionName=booster DefaultTime=10 MaxTime=1-00:00:00\n")
    with running_cluster(nodes=2, node_cpus=48, node_gpus=4, node_mem=10000, extra_conf=extra) as cluster:
        yield cluster


@pytest.fixture
def on_slurm(checkout, booster):
    checkout.environment.update(booster.environment)
    return booster


def passed(checkout, session):
    return {name: row["attempts"] for name, row in checkout.results(session).items() if row["success"]}


def test_recipe_3_planned_and_tried_out_here(checkout):
    plan, try_out, *_, watch = checkout.commands(3)
    planned = checkout.run(plan).stdout
    assert "2 entries, 2 jobs" in planned and "16.27 GPU-hours" in planned
    session = checkout.session(BASE)
    assert planned.splitlines()[0] == str(session)
    script = (session / "scripts" / "lr0.0001.sbatch").read_text()
    assert "#SBATCH --partition=booster\n" in script and "#SBATCH --gres=gpu:4\n" in script
    submitted = checkout.json(f"{try_out} --json")
    assert [job["entry"] for job in submitted["jobs"]] == ["lr0.0001", "lr0.0005"]
    checkout.run(f"{watch} --fake")
    assert passed(checkout, session) == {"lr0.0001": 1, "lr0.0005": 1}
    documented = json.loads((checkout.folder / BASE / "sweep.json").read_text())["entries"]
    assert [entry["name"] for entry in documented] == ["lr0.0001", "lr0.0005"]


@pytest.mark.slurm
@pytest.mark.xdist_group("slurm")
def test_recipe_3_without_fake_runs_on_the_cluster(checkout, on_slurm):
    plan, _, submit, watch = checkout.commands(3)
    checkout.run(plan)
    jobs = {job["job_id"] for job in checkout.json(f"{submit} --json")["jobs"]}
    told = on_slurm.command("scontrol", "show", "job", sorted(jobs)[0])
    assert "Partition=booster" in told and "NumCPUs=48" in told and "gres:gpu:4" in told
    checkout.run(watch + QUICK)
    assert passed(checkout, checkout.session(BASE)) == {"lr0.0001": 1, "lr0.0005": 1}
    told_of_all = ("sacct", "-nXP", "-S", "now-1hour", "-o", "JobID,State")
    checkout.wait(lambda: {f"{job}|COMPLETED" for job in jobs} <= set(on_slurm.command(*told_of_all).split()))


def expect_array(checkout, submitted):
    """Expect one script and one job id, a task and a pass of each entry."""
    session = checkout.session(BASE)
    tasks = [job["job_id"].split("_") for job in submitted["jobs"]]
    assert len({job for job, _ in tasks}) == 1 and [task for _, task in tasks] == ["0", "1"]
    (script,) = (session / "scripts").iterdir()
    assert script.name == "array_000.sbatch" and 'case "${SLURM_ARRAY_TASK_ID' in script.read_text()
    assert passed(checkout, session) == {"lr0.0001": 1, "lr0.0005": 1}
    logs = sorted(session.glob("entries/*/attempts/1/stdout.log"))
    assert ["lr 0.0001" in logs[0].read_text(), "lr 0.0005" in logs[1].read_text()] == [True, True]


def test_recipe_4_a_sweep_as_a_job_array(checkout):
    submit, watch = checkout.commands(4)
    submitted = checkout.json(f"{submit} --json")
    checkout.run(watch)
    expect_array(checkout, submitted)


@pytest.mark.slurm
@pytest.mark.xdist_group("slurm")
def test_recipe_4_without_fake_is_an_array_of_the_cluster(checkout, on_slurm):
    submit, watch = (command.replace(" --fake", "") for command in checkout.commands(4))
    submitted = checkout.json(f"{submit} --json")
    checkout.run(watch + QUICK)
    expect_array(checkout, submitted)
