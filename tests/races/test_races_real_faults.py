"""Races 1 and 13 to 15 on a real SLURM cluster whose daemons go away."""

from __future__ import annotations

import time

import pytest

from tests.cluster.campaigns import shell
from tests.cluster.real_slurm import after, running_cluster
from tests.system.conftest import on_cluster

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm_own")]


@pytest.fixture(scope="module")
def fragile_cluster():
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def fragile(campaign, fragile_cluster, monkeypatch):
    """A campaign on a cluster whose daemons may be killed; afterwards it is as it was."""
    real = on_cluster(campaign, fragile_cluster, monkeypatch)
    yield real
    real.cluster.command("scancel", "--user=root", check=False)
    real.cluster.command("scontrol", "update", "NodeName=ALL", "State=RESUME", check=False)
    real.wait(lambda: set(real.cluster.command("sinfo", "-hN", "-o", "%T").split()) == {"idle"}, deadline_s=90)


def test_race_01_a_controller_that_hangs_during_sbatch_leads_to_no_duplicate_on_a_real_cluster(fragile):
    fragile.write(backend=shell("true"), sweep={"axes": {"n": list(range(6))}}, monitoring={"interval_s": 1.0})
    fragile.cluster.fault("slurmctld", "pause")
    try:
        first = fragile.run("submit")
    finally:
        fragile.cluster.fault("slurmctld", "resume")
    assert first.returncode == 4
    assert fragile.run("monitor").returncode == 0
    fragile.assert_each_succeeded_once(6)


def test_race_14_accounting_that_stops_changes_no_verdict_on_a_real_cluster(fragile):
    """While it is away an ended job may be known to nobody: that is no reason to call it lost."""
    fragile.write(
        backend=shell("exit $(({n} == 3))"), sweep={"axes": {"n": list(range(4))}}, monitoring={"interval_s": 1.0}
    )
    fragile.cluster.fault("slurmdbd", "kill")
    with after(15, fragile.cluster.fault, "slurmdbd", "start"):
        assert fragile.run("submit").returncode == 0
        assert fragile.run("monitor", timeout=200).returncode == 1
    assert sorted(fragile.ended_modes()) == ["crash", "success", "success", "success"]
    fragile.wait(lambda: len(fragile.jobs_in_accounting()) == 4)
    assert set(fragile.jobs_in_accounting().values()) == {1}


def test_race_13_a_controller_killed_and_restarted_changes_no_verdict_on_a_real_cluster(fragile):
    fragile.write(backend=shell("sleep 20"), sweep={"axes": {"n": list(range(4))}}, monitoring={"interval_s": 1.0})
    fragile.run("submit")
    fragile.wait_running()
    running_since = time.time()
    saved = fragile.cluster.base / "state" / "job_state"
    fragile.wait(lambda: saved.stat().st_mtime > running_since)
    fragile.cluster.fault("slurmctld", "kill")
    with after(12, fragile.cluster.fault, "slurmctld", "start"):
        done = fragile.run("monitor", timeout=200)
    assert done.returncode == 0, done.stderr
    fragile.assert_each_succeeded_once(4)


def test_race_15_jobs_that_a_killed_controller_has_forgotten_are_judged_on_a_real_cluster(fragile):
    """Killed before it saved its state, a controller forgets jobs that run on, and gives their ids out again."""
    fragile.write(backend=shell("sleep 5"), sweep={"axes": {"n": list(range(4))}}, monitoring={"interval_s": 1.0})
    fragile.run("submit")
    fragile.wait_running()
    fragile.cluster.fault("slurmctld", "kill")
    with after(12, fragile.cluster.fault, "slurmctld", "start"):
        done = fragile.run("monitor", timeout=200)
    assert done.returncode == 0, done.stderr
    assert fragile.ended_modes() == ["success"] * 4
    assert set(fragile.jobs_in_accounting().values()) <= {1}
