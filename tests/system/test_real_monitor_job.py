"""`monitor --as-job` on a real SLURM cluster: nobody needs a process on the login node."""

from __future__ import annotations

import json
import os
import signal

import pytest

from tests.cluster.real_slurm import running_cluster
from tests.system.conftest import on_cluster

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm_own")]


def shell(line):
    return {"class_name": "CommandBackend", "command": line}


def finished(campaign):
    return (campaign.session_dir / "journal.jsonl").exists()


def test_the_monitor_is_a_job_once_and_ends_with_the_session(real):
    real.write(backend=shell("sleep 4; exit {n}"), sweep={"axes": {"n": [0, 1]}}, monitoring={"interval_s": 0.5})
    real.run("submit")
    first, second = real.run("monitor", "--as-job"), real.run("monitor", "--as-job")
    assert first.returncode == 0, first.stderr
    assert first.stdout == second.stdout and "watches this session already" in second.stderr
    real.wait(lambda: finished(real), deadline_s=120)
    assert sorted(real.ended_modes()) == ["crash", "success"]
    job = first.stdout.strip()
    real.wait(lambda: "COMPLETED" in real.cluster.command("squeue", "-h", "-t", "all", "-j", job, "-o", "%T"))
    log = (real.session_dir / "monitor_job" / f"{job}_0_log.err").read_text()
    assert "1 of 2 passed" in log
    late = real.run("monitor", "--as-job", "--session", str(real.session_dir))
    assert late.returncode == 2 and "is over" in late.stderr


@pytest.mark.soak
def test_before_its_limit_it_requeues_itself_and_goes_on(real):
    """A limit of two minutes: SLURM's warning comes a minute and more before it, the campaign lasts longer."""
    real.write(
        slurm={"monitor_job": {"time": "2", "mem": "200M"}},
        backend=shell("sleep 100"),
        monitoring={"interval_s": 1.0},
    )
    real.run("submit")
    job = real.run("monitor", "--as-job").stdout.strip()
    assert job.isdigit()
    restarts = ("squeue", "-h", "-t", "all", "-j", job, "-O", "RestartCnt:10")
    real.wait(lambda: int(real.cluster.command(*restarts).strip() or 0) >= 1, deadline_s=120)
    real.wait(lambda: finished(real), deadline_s=120)
    assert real.ended_modes() == ["success"]
    # The journal is archived first, the lease given back after it.
    real.wait(lambda: not list((real.out / ".oellm-bench" / "monitor").glob("*.lease.json")))


def test_a_monitor_job_whose_node_fails_is_taken_over_by_the_requeued_one(campaign, monkeypatch):
    with running_cluster() as cluster:
        real = on_cluster(campaign, cluster, monkeypatch)
        real.write(
            slurm={"sbatch": {"nodelist": "node2"}, "monitor_job": {"exclude": "node2", "mem": "200M"}},
            backend=shell("sleep 30"),
            monitoring={"interval_s": 1.0},
        )
        real.run("submit")
        job = real.run("monitor", "--as-job").stdout.strip()
        real.wait(lambda: real.watcher() is not None)
        node = cluster.command("squeue", "-h", "-j", job, "-o", "%N").strip()
        cluster.command("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
        os.kill(real.watcher(), signal.SIGKILL)  # with a real node its processes are gone
        real.wait(lambda: finished(real), deadline_s=150)
        assert real.ended_modes() == ["success"]


def test_a_monitor_elsewhere_keeps_the_job_from_being_submitted(real):
    real.write(backend=shell("sleep 8"), monitoring={"interval_s": 0.5})
    real.run("submit")
    monitor = real.start("monitor")
    real.wait(lambda: real.watcher() == monitor.pid)
    refused = real.run("monitor", "--as-job")
    assert refused.returncode == 2 and "watched already, by process" in refused.stderr
    assert monitor.wait(timeout=120) == 0
    monitor.stdout.close()


@pytest.mark.parametrize(
    ("option", "what"),
    [
        ("time=1-00:00:01", "slurm.monitor_job"),
        ("time=1", "two minutes at least"),
        ("partition=nope", "slurm.monitor_job"),
    ],
)
def test_a_monitor_job_that_cannot_run_is_refused_with_what_to_set(real, option, what):
    real.write(slurm={"sbatch": {"hold": True}}, backend=shell("true"))
    real.run("submit")
    refused = real.run("monitor", "--as-job", "-o", f"slurm.monitor_job.{option}")
    assert refused.returncode == 2 and what in refused.stderr
    assert not list((real.session_dir / "monitor_job").glob("*.pkl"))
    real.run("cancel", real.session_dir.name)


def test_a_monitor_job_without_a_limit_has_none(real):
    real.write(slurm={"sbatch": {"hold": True}, "monitor_job": {"mem": "200M"}}, backend=shell("true"))
    real.run("submit")
    job = real.run("monitor", "--as-job", "-o", "slurm.monitor_job.time=20:00:00").stdout.strip()
    assert real.cluster.command("squeue", "-h", "-j", job, "-o", "%l").strip() == "20:00:00"
    real.cluster.command("scancel", job)
    real.run("cancel", real.session_dir.name)


def test_the_embedded_scheduler_has_no_jobs_for_monitors(campaign):
    campaign.write(backend=shell("true"))
    session = json.loads(campaign.run("submit", "--json").stdout)["session_dir"]
    refused = campaign.run("monitor", "--session", session, "--as-job")
    assert refused.returncode == 2 and "--as-job needs SLURM" in refused.stderr
    campaign.run("monitor")
