"""Campaigns on a real SLURM cluster whose daemons go away: no duplicate, no loss, the right verdicts."""

from __future__ import annotations

import pytest

from tests.cluster.campaigns import shell
from tests.cluster.real_slurm import after, running_cluster
from tests.system.conftest import on_cluster

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm_own")]


@pytest.fixture
def fragile(campaign, monkeypatch):
    """A campaign on a cluster of its own: a daemon that was away leaves drained nodes and forgotten jobs behind."""
    with running_cluster() as cluster:
        yield on_cluster(campaign, cluster, monkeypatch)


def test_a_slurmd_that_is_killed_is_a_node_failure_and_the_entry_runs_elsewhere(fragile):
    policy = {"mode": "node_fail", "implementation": {"class_name": "AlwaysRestartPolicy", "max_retries": 2}}
    fragile.write(
        backend=shell('[ "$OELLM_BENCH_ATTEMPT" -ge 2 ] || sleep 300'),
        restart_policies=[policy],
        monitoring={"interval_s": 1.0},
    )
    fragile.run("submit")
    fragile.wait_running()
    node = fragile.json("status")["entries"][0]["node"]
    fragile.cluster.fault(node, "kill")
    done = fragile.run("monitor", timeout=200)
    assert done.returncode == 0, done.stderr
    assert fragile.ended_modes() == ["node_fail", "success"]
    assert fragile.json("status")["entries"][0]["node"] != node


def test_authentication_that_stops_changes_no_verdict(fragile):
    fragile.write(backend=shell("sleep 3"), sweep={"axes": {"n": list(range(4))}}, monitoring={"interval_s": 1.0})
    fragile.run("submit")
    fragile.wait_running()
    fragile.cluster.fault("munged", "kill")
    with after(8, fragile.cluster.fault, "munged", "start"):
        done = fragile.run("monitor", timeout=300)
    assert done.returncode == 0, done.stderr
    fragile.assert_each_succeeded_once(4)


@pytest.mark.soak
def test_authentication_that_is_away_during_sbatch_leads_to_no_duplicate(fragile):
    fragile.write(backend=shell("true"), sweep={"axes": {"n": list(range(3))}}, monitoring={"interval_s": 1.0})
    fragile.cluster.fault("munged", "kill")
    with after(55, fragile.cluster.fault, "munged", "start"):
        assert fragile.run("submit", timeout=200).returncode == 4
    assert fragile.run("monitor", timeout=200).returncode == 0
    fragile.assert_each_succeeded_once(3)


@pytest.fixture(scope="module")
def silent_cluster():
    """A cluster without accounting, whose controller forgets ended jobs soon."""
    with running_cluster(accounting=False, min_job_age=2) as cluster:
        yield cluster


@pytest.fixture
def unaccounted(campaign, silent_cluster, monkeypatch):
    return on_cluster(campaign, silent_cluster, monkeypatch)


def test_race_14_without_accounting_the_queue_and_the_jobs_own_records_tell_on_a_real_cluster(unaccounted):
    unaccounted.write(
        backend=shell("exit {code}"),
        sweep={"axes": {"code": [0, 3, 137, 255]}},
        slurm={"array": True},
    )
    assert unaccounted.run("run").returncode == 1
    results = unaccounted.results()
    assert [results[f"code{n}"]["error_mode"] for n in (0, 3, 137, 255)] == ["success", "crash", "crash", "crash"]
    assert all(f"exit code {n}" in results[f"code{n}"]["reason"] for n in (3, 137, 255))


def test_race_14_jobs_that_nobody_remembers_are_judged_by_their_records_on_a_real_cluster(unaccounted):
    unaccounted.write(backend=shell("exit $(({n} == 1))"), sweep={"axes": {"n": [0, 1]}})
    unaccounted.run("submit")
    unaccounted.wait(lambda: not unaccounted.cluster.command("squeue", "-h", "-t", "all"), deadline_s=120)
    assert unaccounted.run("monitor").returncode == 1
    assert sorted(unaccounted.ended_modes()) == ["crash", "success"]


@pytest.mark.parametrize("end", ["timeout", "node_fail", "cancelled", "oom"])
def test_without_accounting_the_ends_are_told_apart(unaccounted, end):
    hog = "python3 -c 'import time; x = bytearray(400_000_000); time.sleep(60)'"
    unaccounted.write(
        slurm={"sbatch": {"time": "1", "mem": "100"}},
        backend=shell(hog if end == "oom" else "sleep 300"),
        restart={"max_restarts": 0},
    )
    unaccounted.run("submit")
    if end != "oom":
        unaccounted.wait_running()
    (job,) = unaccounted.job_ids()
    node = unaccounted.json("status")["entries"][0]["node"]
    command = {
        "timeout": ("scontrol", "update", f"JobId={job}", "EndTime=now+2"),
        "node_fail": ("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test"),
        "cancelled": ("scancel", job),
        "oom": ("true",),
    }[end]
    unaccounted.cluster.command(*command)
    unaccounted.run("monitor")
    assert unaccounted.ended_modes() == [end]
    if end == "node_fail":
        unaccounted.cluster.command("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)
