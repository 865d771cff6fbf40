"""Whole campaigns on a real SLURM cluster: every kind of end, and a controller that goes away."""

from __future__ import annotations

import threading
from collections import Counter

import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.soak, pytest.mark.xdist_group("slurm")]


@pytest.fixture
def cluster(slurm_cluster, monkeypatch):
    for name, value in slurm_cluster.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SBATCH_PARTITION", "long")
    return slurm_cluster


@pytest.fixture
def real(campaign, cluster):
    campaign.fake = False
    return campaign


FAST = {"class_name": "SlurmClient", "calls_per_s": 50.0, "call_burst": 200, "lookup_grace_s": 15.0}


def shell(line):
    return {"class_name": "CommandBackend", "command": line}


def results(campaign):
    return {row["name"]: row for row in campaign.json("results")["entries"]}


def ended_modes(campaign):
    return [event["mode"] for event in campaign.journal() if event["event"] == "Ended"]


def job_of(campaign):
    return campaign.json("status")["entries"][0]["job_id"]


def test_an_array_over_the_clusters_limit_keeps_every_exit_code(real):
    real.write(
        slurm={"client": FAST, "array": True, "max_parallel": 5, "sbatch": {"mem": "80"}},
        backend=shell("exit $(({n} % 3))"),
        sweep={"axes": {"n": list(range(250))}},
        monitoring={"interval_s": 1.0},
    )
    submitted = real.json("submit")
    assert len({row["job_id"].split("_")[0] for row in submitted["jobs"]}) == 3
    assert real.run("monitor", timeout=400).returncode == 1
    codes = {name: row["reason"] for name, row in results(real).items() if not row["success"]}
    assert len(codes) == 166
    assert all(f"exit code {int(name[1:]) % 3}" in reason for name, reason in codes.items())
    assert set(real.jobs_by_token().values()) == {1}


def test_a_time_limit_is_a_timeout(real, cluster):
    real.write(slurm={"client": FAST, "sbatch": {"time": "1"}}, backend=shell("sleep 300"))
    real.run("submit")
    real.wait(lambda: real.json("status")["entries"][0]["state"] == "RUNNING")
    cluster.command("scontrol", "update", f"JobId={job_of(real)}", "EndTime=now")
    real.run("monitor")
    assert ended_modes(real) == ["timeout"]


def test_too_much_memory_is_oom_without_cgroups_too(real):
    hog = "import time; x = bytearray(400_000_000); time.sleep(60)"
    real.write(
        slurm={"client": FAST, "sbatch": {"mem": "100"}},
        backend={"class_name": "CommandBackend", "command": ["python3", "-c", hog]},
    )
    real.run("run")
    assert ended_modes(real) == ["oom"]


def test_a_node_that_goes_down_is_a_node_failure_and_restarted(real, cluster):
    policy = {"mode": "node_fail", "implementation": {"class_name": "AlwaysRestartPolicy"}}
    real.write(
        slurm={"client": FAST},
        backend=shell('[ "$OELLM_BENCH_ATTEMPT" -ge 2 ] || sleep 300'),
        restart_policies=[policy],
    )
    real.run("submit")
    real.wait(lambda: real.json("status")["entries"][0]["state"] == "RUNNING")
    node = real.json("status")["entries"][0]["node"]
    cluster.command("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    try:
        assert real.run("monitor").returncode == 0
        assert ended_modes(real) == ["node_fail", "success"]
    finally:
        cluster.command("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)


def test_a_requeued_job_goes_on_as_the_same_attempt(real, cluster):
    real.write(
        slurm={"client": FAST, "sbatch": {"requeue": True}},
        backend=shell('[ -n "$SLURM_RESTART_COUNT" ] || sleep 300'),
    )
    real.run("submit")
    real.wait(lambda: real.json("status")["entries"][0]["state"] == "RUNNING")
    cluster.command("scontrol", "requeue", job_of(real))
    assert real.run("monitor").returncode == 0
    assert ended_modes(real) == ["success"]


def test_a_foreign_scancel_is_a_cancel_and_not_restarted(real, cluster):
    policy = {"mode": "crash", "implementation": {"class_name": "AlwaysRestartPolicy"}}
    real.write(slurm={"client": FAST}, backend=shell("sleep 300"), restart_policies=[policy])
    real.run("submit")
    real.wait(lambda: real.json("status")["entries"][0]["state"] == "RUNNING")
    cluster.command("scancel", job_of(real))
    real.run("monitor")
    assert ended_modes(real) == ["cancelled"]


def test_a_dependency_that_cannot_be_satisfied_ends_the_entry(real, cluster):
    failed = cluster.command("sbatch", "--parsable", "--output=/dev/null", "--wrap=exit 1").strip()
    real.wait(lambda: "FAILED" in cluster.command("squeue", "-h", "-t", "all", "-j", failed, "-o", "%T"))
    real.write(slurm={"client": FAST, "sbatch": {"dependency": f"afterok:{failed}"}}, backend=shell("true"))
    real.run("submit")
    real.run("monitor")
    assert ended_modes(real) == ["dependency_failed"]


def test_a_controller_that_hangs_during_sbatch_leads_to_no_duplicate(real, cluster):
    real.write(
        slurm={"client": FAST},
        backend=shell("true"),
        sweep={"axes": {"n": list(range(6))}},
        monitoring={"interval_s": 1.0},
    )
    cluster.fault("slurmctld", "pause")
    resume = threading.Timer(13, cluster.fault, ("slurmctld", "resume"))
    resume.start()
    first = real.run("submit")
    resume.join()
    assert first.returncode == 4
    assert real.run("monitor").returncode == 0
    assert len(results(real)) == 6
    session8 = real.session_dir.name.rsplit("_", 1)[-1]

    def jobs() -> Counter[str]:
        names = cluster.command("sacct", "-nPX", "-o", "JobName").split()
        return Counter(name for name in names if name.startswith(f"ob-{session8}"))

    real.wait(lambda: sum(jobs().values()) >= 6)  # accounting calls a job that is seconds old `allocation`
    assert set(jobs().values()) == {1} and len(jobs()) == 6


def test_a_controller_killed_and_restarted_changes_no_verdict(real, cluster):
    real.write(
        slurm={"client": FAST},
        backend=shell("sleep 5"),
        sweep={"axes": {"n": list(range(4))}},
        monitoring={"interval_s": 1.0},
    )
    real.run("submit")
    real.wait(lambda: all(row["state"] == "RUNNING" for row in real.json("status")["entries"]))
    cluster.fault("slurmctld", "kill")
    restart = threading.Timer(12, cluster.fault, ("slurmctld", "start"))
    restart.start()
    done = real.run("monitor", timeout=200)
    restart.join()
    assert done.returncode == 0, done.stderr
    assert ended_modes(real) == ["success"] * 4
