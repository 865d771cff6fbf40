"""Races 4 to 6, 8 to 11, 17, 19 and 20 on a real SLURM cluster whose daemons are well."""

from __future__ import annotations

import json

import pytest

from oellm_bench.schedulers.base import SubmitRequest
from oellm_bench.schedulers.slurm import SlurmClient, SlurmConfig
from tests.cluster.campaigns import first_time_only, node_down, restarted_after, shell

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]

SIGNALS = {"log_signals": [{"name": "run", "pattern": r"run (?P<number>\d+)"}]}


def seconds_watched(real, since):
    """Return for how long the monitor has looked since then, by its own snapshot."""
    document = json.loads((real.out / ".oellm-bench" / "monitor" / "state.json").read_text())
    (session,) = document["sessions"].values()
    return session["updated_at"] - since


def test_race_04_jobs_that_are_watched_without_a_pause_are_never_lost_on_a_real_cluster(real):
    real.write(
        backend=shell("exit $(({n} % 2))"),
        sweep={"axes": {"n": list(range(8))}},
        monitoring={"interval_s": 0.01},
        restart={"max_restarts": 0},
    )
    assert real.run("run").returncode == 1
    assert sorted(real.ended_modes()) == ["crash"] * 4 + ["success"] * 4


def test_race_05_a_job_that_goes_on_after_its_node_failed_is_the_same_attempt_on_a_real_cluster(real):
    """Accounting says NODE_FAIL until it has heard of the requeue."""
    real.write(
        slurm={"sbatch": {"requeue": True}},
        backend=shell('[ -n "$SLURM_RESTART_COUNT" ] || sleep 300'),
        restart_policies=restarted_after("node_fail"),
        monitoring={"interval_s": 0.1},
    )
    real.run("submit")
    real.wait_running()
    with node_down(real.cluster, real.json("status")["entries"][0]["node"]):
        assert real.run("monitor").returncode == 0
    assert real.ended_modes() == ["success"]
    assert real.results()["c"]["attempts"] == 1


def test_race_06_the_log_of_a_requeued_job_is_read_on_on_a_real_cluster(real):
    real.write(
        slurm={"sbatch": {"requeue": True}},
        backend=shell('echo "run $((SLURM_RESTART_COUNT))"; [ -n "$SLURM_RESTART_COUNT" ] || sleep 300'),
        monitoring=SIGNALS,
    )
    real.run("submit")
    log = real.session_dir / "entries" / "c" / "attempts" / "1" / "stdout.log"
    real.wait(lambda: log.exists() and log.read_text() == "run 0\n")
    real.cluster.command("scontrol", "requeue", real.job_ids()[0])
    assert real.run("monitor").returncode == 0
    assert real.ended_modes() == ["success"]
    lines = [signal["line"] for event in real.journal() for signal in event.get("signals", ())]
    assert lines == ["run 0", "run 1"] == log.read_text().splitlines()


def test_race_08_a_job_that_says_nothing_while_it_starts_up_is_no_stall_on_a_real_cluster(real):
    real.write(
        backend=shell("sleep 5; echo up; exit 0"),
        monitoring={"interval_s": 0.2, "inactivity_s": 2.0, "startup_s": 120.0},
    )
    assert real.run("run").returncode == 0
    assert real.ended_modes() == ["success"]


def test_race_09_a_single_task_of_an_array_is_restarted_alone_on_a_real_cluster(real):
    real.write(
        slurm={"array": True},
        sweep={"axes": {"n": [0, 1, 2]}},
        backend=first_time_only("exit $(({n} == 1))"),
        restart_policies=restarted_after("crash"),
    )
    assert real.run("run").returncode == 0
    assert {name: row["attempts"] for name, row in real.results().items()} == {"n0": 1, "n1": 2, "n2": 1}
    real.wait(lambda: sorted(real.jobs_in_accounting().values()) == [1, 1, 1, 1])


def test_race_10_a_task_cancelled_while_it_waits_is_found_out_on_a_real_cluster(real):
    """A task that is cancelled before it starts may leave no trace at all in squeue and sacct."""
    real.write(
        slurm={"array": True, "sbatch": {"hold": True}},
        sweep={"axes": {"n": [0, 1, 2]}},
        backend=shell("true"),
        monitoring={"missing_grace_s": 8.0},
    )
    jobs = real.json("submit")["jobs"]
    real.cluster.command("scancel", jobs[1]["job_id"])
    real.cluster.command("scontrol", "release", jobs[0]["job_id"].split("_")[0])
    assert real.run("monitor").returncode == 1
    results = real.results()
    assert [results[f"n{n}"]["error_mode"] for n in (0, 1, 2)] == ["success", "cancelled", "success"]


def test_race_11_a_list_of_tasks_that_squeue_cuts_short_is_not_needed_on_a_real_cluster(real):
    real.write(backend=shell("true"))  # for the environment only: what is asked is the client
    script = real.folder / "array.sbatch"
    script.write_text("#!/bin/bash\ntrue\n")
    client = SlurmClient(SlurmConfig(calls_per_s=50.0, call_burst=100), real.folder / "calls")
    name = f"ob-race11-{real.folder.parent.name}"
    tasks = tuple(number for number in range(101) if number % 3 != number % 7)  # no range and no step
    options = {"partition": "long", "mem": "80", "begin": "now+1hour", "output": "/dev/null"}
    job = client.submit(SubmitRequest(name=name, script=script, tasks=tasks, options=options))
    plain = real.cluster.command("squeue", "-h", "-j", str(job), "-o", "%i").strip()
    assert "..." in plain or not plain.endswith("]")  # 22.05 cuts in the middle of a number
    rows = client.snapshot(name, 0).jobs
    assert sorted(row.job_id.task for row in rows) == list(tasks)
    client.cancel([row.job_id for row in rows])
    real.wait(lambda: all(row.state.is_terminal for row in client.snapshot(name, 0).jobs))


def test_race_17_a_foreign_scancel_is_a_cancel_and_not_restarted_on_a_real_cluster(real):
    real.write(backend=shell("sleep 300"), restart_policies=restarted_after("crash"))
    real.run("submit")
    real.wait_running()
    real.cluster.command("scancel", *real.job_ids())
    real.run("monitor")
    assert real.ended_modes() == ["cancelled"]


def test_race_19_a_suspended_job_is_no_stall_and_goes_on_on_a_real_cluster(real):
    gate = real.folder.parent / "go"
    real.write(
        backend=shell(f"echo up; while [ ! -e {gate} ]; do sleep 0.1; done"),
        monitoring={"interval_s": 0.2, "inactivity_s": 3.0},
    )
    real.run("submit")
    real.wait_running()
    (job,) = real.job_ids()
    real.cluster.command("scontrol", "suspend", job)
    monitor = real.start("monitor")
    real.wait(lambda: real.states() == ["SUSPENDED"])
    since = real.json("status")["updated_at"]
    real.wait(lambda: seconds_watched(real, since) > 4)
    real.cluster.command("scontrol", "resume", job)
    real.wait(lambda: real.states() == ["RUNNING"])
    gate.touch()
    said, _ = monitor.communicate(timeout=60)
    assert monitor.returncode == 0, said
    assert real.ended_modes() == ["success"]


def test_race_19_a_job_that_is_held_is_told_and_waited_for_on_a_real_cluster(real):
    real.write(slurm={"sbatch": {"hold": True}}, backend=shell("true"), monitoring={"interval_s": 0.2})
    real.run("submit")
    monitor = real.start("monitor")
    real.wait(lambda: "JobHeldUser" in json.dumps(real.json("status")["notices"]))
    real.cluster.command("scontrol", "release", *real.job_ids())
    said, _ = monitor.communicate(timeout=60)
    assert monitor.returncode == 0 and "scontrol release" in said


def test_race_20_a_preempted_job_is_restarted_on_a_real_cluster(real):
    low = {"partition": "preempt", "nodelist": "node1", "cpus-per-task": 4}
    real.write(
        slurm={"sbatch": low}, backend=first_time_only("sleep 300"), restart_policies=restarted_after("preempted")
    )
    real.run("submit")
    real.wait_running()
    preempt(real)
    assert real.run("monitor").returncode == 0
    assert real.ended_modes() == ["preempted", "success"]


def test_race_20_a_preempted_job_that_slurm_requeues_is_the_same_attempt_on_a_real_cluster(real):
    low = {"partition": "preempt", "nodelist": "node1", "cpus-per-task": 4, "requeue": True}
    real.write(slurm={"sbatch": low}, backend=shell('[ -n "$SLURM_RESTART_COUNT" ] || sleep 300'))
    real.run("submit")
    real.wait_running()
    preempt(real)
    assert real.run("monitor").returncode == 0
    assert real.ended_modes() == ["success"]
    assert real.results()["c"]["attempts"] == 1


def preempt(real):
    """Submit a job that takes the whole of node1 from a partition of higher priority."""
    whole_node = ("--partition=long", "--nodelist=node1", "--cpus-per-task=4", "--mem=100")
    real.cluster.command("sbatch", "--parsable", *whole_node, "--output=/dev/null", "--wrap=sleep 1")
