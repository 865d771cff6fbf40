"""Campaigns on a real SLURM cluster: every way a job can end is told from the others."""

from __future__ import annotations

import json
import time

import pytest

from tests.cluster.campaigns import first_time_only, node_down, restarted_after, shell

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]


def test_one_job(real):
    hungry = ["python3", "-c", "import time; x = bytearray(60_000_000); time.sleep(3)"]
    real.write(slurm={"sbatch": {"mem": "200"}}, backend={"class_name": "CommandBackend", "command": hungry})
    real.run("submit")
    ended = ("sacct", "-nPX", "-s", "COMPLETED", "-j", real.job_ids()[0], "-o", "State")
    real.wait(lambda: "COMPLETED" in real.cluster.command(*ended, "-S", "now-1hour", "-E", "now"))
    assert real.run("monitor").returncode == 0
    assert real.ended_modes() == ["success"]
    (row,) = real.json("status")["entries"]
    assert row["max_rss_bytes"] > 60_000_000 and "cpu=1" in row["billed_tres"] and "mem=200M" in row["billed_tres"]


def test_ten_jobs_keep_their_exit_codes(real):
    real.write(backend=shell("exit {n}"), sweep={"axes": {"n": list(range(10))}})
    assert real.run("run").returncode == 1
    reasons = {name: row["reason"] for name, row in real.results().items()}
    assert all(f"exit code {n}" in reasons[f"n{n}"] for n in range(1, 10))
    assert sorted(real.ended_modes()) == ["crash"] * 9 + ["success"]


@pytest.mark.soak
def test_an_array_over_the_clusters_limit_keeps_every_exit_code(real):
    real.write(
        slurm={"array": True, "max_parallel": 5},
        backend=shell("exit $(({n} % 3))"),
        sweep={"axes": {"n": list(range(250))}},
        monitoring={"interval_s": 1.0},
    )
    submitted = real.json("submit")
    assert len({row["job_id"].split("_")[0] for row in submitted["jobs"]}) == 3
    assert real.run("monitor", timeout=400).returncode == 1
    codes = {name: row["reason"] for name, row in real.results().items() if not row["success"]}
    assert len(codes) == 166
    assert all(f"exit code {int(name[1:]) % 3}" in reason for name, reason in codes.items())
    assert set(real.jobs_by_token().values()) == {1}


def test_a_time_limit_is_a_timeout(real):
    real.write(slurm={"sbatch": {"time": "1"}}, backend=shell("sleep 300"))
    real.run("submit")
    real.wait_running()
    real.cluster.command("scontrol", "update", f"JobId={real.job_ids()[0]}", "EndTime=now+2")
    real.run("monitor")
    assert real.ended_modes() == ["timeout"]


def test_too_much_memory_is_oom_without_cgroups_too(real):
    hog = "import time; x = bytearray(400_000_000); time.sleep(60)"
    real.write(
        slurm={"sbatch": {"mem": "100"}},
        backend={"class_name": "CommandBackend", "command": ["python3", "-c", hog]},
        restart_policies=[],
    )
    real.run("run")
    assert real.ended_modes() == ["oom"]


def test_a_node_that_goes_down_is_a_node_failure_and_restarted(real):
    real.write(backend=first_time_only("sleep 300"), restart_policies=restarted_after("node_fail"))
    real.run("submit")
    real.wait_running()
    with node_down(real.cluster, real.json("status")["entries"][0]["node"]):
        assert real.run("monitor").returncode == 0
    assert real.ended_modes() == ["node_fail", "success"]


def test_an_array_cancelled_while_it_waits_is_cancelled(real):
    real.write(slurm={"array": True, "sbatch": {"hold": True}}, sweep={"axes": {"n": [0, 1]}}, backend=shell("true"))
    jobs = real.json("submit")["jobs"]
    real.cluster.command("scancel", jobs[0]["job_id"].split("_")[0])
    assert real.run("monitor").returncode == 1
    assert real.ended_modes() == ["cancelled", "cancelled"]


def test_a_dependency_that_cannot_be_satisfied_ends_the_entry(real):
    quick = ("--partition=long", "--output=/dev/null", "--wrap=exit 1")
    failed = real.cluster.command("sbatch", "--parsable", *quick).strip()
    real.wait(lambda: "FAILED" in real.cluster.command("squeue", "-h", "-t", "all", "-j", failed, "-o", "%T"))
    real.write(slurm={"sbatch": {"dependency": f"afterok:{failed}"}}, backend=shell("true"))
    real.run("submit")
    real.run("monitor")
    assert real.ended_modes() == ["dependency_failed"]


CHAIN = {
    "axes": [{"stage": "first"}, {"stage": "second", "slurm.after": ["first"]}],
    "name_template": "{stage}",
}


def test_an_entry_waits_for_another_ones_job(real):
    real.write(backend=shell("sleep 2"), sweep=CHAIN)
    assert len(real.json("submit")["jobs"]) == 2
    assert real.run("monitor").returncode == 0
    started = {e["entry"]: e["started_at"] for e in real.journal() if e["event"] == "Observed" and e["started_at"]}
    assert len(started) == 2 and max(started.values()) - min(started.values()) >= 2


def test_a_dependent_entry_follows_the_restart_of_what_it_waits_for(real):
    fails_once = '[ {stage} != first ] || [ "$OELLM_BENCH_ATTEMPT" -ge 2 ]'
    real.write(backend=shell(fails_once), sweep=CHAIN, restart_policies=restarted_after("crash"))
    assert real.run("run").returncode == 0
    assert real.results()["first"]["attempts"] == 2
    real.wait(lambda: set(real.jobs_in_accounting().values()) == {1})


def test_a_heterogeneous_job_is_one_job(real):
    real.write(
        slurm={"sbatch": {"nodes": 1}, "hetjob": [{"partition": "long", "nodes": 2, "mem": "80"}]},
        backend=shell('[ "$SLURM_HET_SIZE" = 2 ] && sleep 2 && exit 3'),
    )
    real.run("submit")
    real.wait_running()
    assert len(real.json("status")["entries"][0]["node"].split(",")) >= 2
    assert real.run("monitor").returncode == 1
    assert real.ended_modes() == ["crash"] and "exit code 3" in real.results()["c"]["reason"]


def test_srun_starts_the_tasks_with_the_cpus_that_were_asked_for(real):
    real.write(
        slurm={"sbatch": {"ntasks": 2, "cpus-per-task": 2}, "srun": {"cpu-bind": "none"}},
        backend={"class_name": "CommandBackend", "command": ["sh", "-c", "echo cpus $SLURM_CPUS_PER_TASK"]},
    )
    assert real.run("run").returncode == 0
    log = real.session_dir / "entries" / "c" / "attempts" / "1" / "stdout.log"
    assert log.read_text().splitlines() == ["cpus 2", "cpus 2"]


def test_the_plans_options_win_over_the_submitters_environment(real, monkeypatch):
    for name, value in {"SBATCH_PARTITION": "debug", "SBATCH_TIMELIMIT": "1", "SBATCH_REQUEUE": "1"}.items():
        monkeypatch.setenv(name, value)
    for name, value in {"SLURM_JOB_ID": "1", "SLURM_RESTART_COUNT": "3", "SLURM_ARRAY_TASK_ID": "5"}.items():
        monkeypatch.setenv(name, value)  # as inside of a job
    real.write(backend=shell('[ -z "$SLURM_RESTART_COUNT$SLURM_ARRAY_TASK_ID" ] && sleep 2'))
    (row,) = real.json("submit")["jobs"]
    told = real.cluster.command("scontrol", "show", "job", row["job_id"])
    assert "Partition=long" in told and "TimeLimit=02:02:00" in told and "Requeue=0" in told
    assert real.run("monitor").returncode == 0


def test_plan_check_asks_once_for_each_resource_shape(real):
    real.write(
        backend=shell("true"),
        sweep={"axes": {"n": [1, 2, 3], "slurm.sbatch.nodes": [1, 2]}, "name_template": "n{n}_on{nodes}"},
        project={"timeout_s": 600},
    )
    check = real.json("plan", "--check")["check"]
    assert [(len(s["entries"]), s["nodes"], s["partition"], s["accepted"]) for s in check["shapes"]] == [
        (3, 1, "long", True),
        (3, 2, "long", True),
    ]
    assert all("to start at" in shape["message"] for shape in check["shapes"]) and check["problems"] == []
    assert check["shapes"][1]["node_hours"] == pytest.approx(3 * 2 * 720 / 3600)
    assert real.cluster.command("squeue", "-h", "-o", "%j").count("ob-") == 0


@pytest.mark.parametrize(
    ("sbatch", "what"),
    [
        ({"partition": "lnog"}, "there is no partition 'lnog' here; did you mean 'long'?; set slurm.sbatch.partition"),
        ({"partition": "debug"}, "partition debug allows 00:01:00, and 02:02:00 is asked for"),
        ({"nodes": 5}, "partition long gives 4 nodes at the most, and 5 are asked for"),
        ({"gpus-per-node": 9}, "Requested node configuration is not available; ask for fewer CPUs, GPUs"),
        ({"mem": "900G"}, "ask for fewer CPUs, GPUs or less memory per node"),
    ],
)
def test_plan_check_refuses_what_the_cluster_would_never_run(real, sbatch, what):
    real.write(backend=shell("true"), slurm={"sbatch": sbatch})
    done = real.run("plan", "--check")
    assert done.returncode == 2 and what in done.stderr
    assert real.session_dir.is_dir()


def test_plan_check_looks_at_each_component_by_itself(real):
    real.write(slurm={"hetjob": [{"partition": "debug", "time": 1, "nodes": 3, "mem": 50}]}, backend=shell("true"))
    check = real.json("plan", "--check")["check"]
    assert check["problems"] == [] and check["shapes"][0]["partition"] == "long + debug"


def test_what_slurm_takes_away_with_what_it_waited_for_follows_the_restart(real):
    """`kill-on-invalid-dep`: such a job was never eligible, and no source lists it afterwards."""
    fails_once = '[ {stage} != first ] || [ "$OELLM_BENCH_ATTEMPT" -ge 2 ]'
    real.write(
        slurm={"sbatch": {"kill-on-invalid-dep": "yes"}},
        backend=shell(fails_once),
        sweep=CHAIN,
        restart_policies=restarted_after("crash"),
        monitoring={"missing_grace_s": 5.0},
    )
    second = real.json("submit")["jobs"][1]["job_id"]
    real.wait(lambda: not real.cluster.command("squeue", "-h", "-j", second, "-t", "all", check=False), deadline_s=120)
    assert real.run("monitor").returncode == 0
    assert real.results()["second"]["attempts"] == 2


def test_a_script_that_is_gone_is_a_refusal_of_that_entry_alone(real):
    real.write(backend=shell("exit {n}"), sweep={"axes": {"n": [0, 1]}}, restart_policies=restarted_after("crash"))
    real.run("submit")
    real.wait(lambda: "FAILED" in real.cluster.command("squeue", "-h", "-t", "all", "-o", "%T"))
    (real.session_dir / "scripts" / "n1.sbatch").unlink()
    assert real.run("monitor").returncode == 1
    assert {name: row["error_mode"] for name, row in real.results().items()} == {
        "n0": "success",
        "n1": "submit_rejected",
    }


def test_a_cancel_does_not_wait_for_a_query_that_is_left_alone(real):
    real.write(backend=shell("sleep 300"))
    real.run("submit")
    real.wait_running()
    (ledger,) = real.out.rglob("slurm-calls.json")
    document = json.loads(ledger.read_text())
    pause = {"failures": 5, "until": time.time() + 200, "length_s": 300.0, "message": "away"}
    ledger.write_text(json.dumps({**document, "pauses": {"squeue": pause, "sacct": pause}}))
    assert "left alone" in real.run("status").stdout
    assert real.run("cancel", real.session_dir.name).returncode == 0
    real.wait(lambda: "CANCELLED" in real.cluster.command("squeue", "-h", "-t", "all", "-o", "%T %j").split("\n")[0])


def test_one_look_asks_slurm_once_however_long_a_condition_takes(real):
    slow = {"class_name": "CommandCondition", "command": ["sleep", "2"]}
    real.write(
        backend=shell("sleep 300"),
        monitoring={"cancel_conditions": [{"class_name": "NotCondition", "condition": slow}]},
    )
    real.run("submit")
    before = real.json("status")["scheduler_budget"]["made"]
    assert real.run("monitor", "--once").returncode == 0
    assert real.json("status")["scheduler_budget"]["made"] - before <= 4  # two for the look, two for this status
    real.run("cancel", real.session_dir.name)


SAVES_WHEN_WARNED = """
import signal, sys, time
signal.signal(signal.SIGUSR1, lambda *_: sys.exit(print("checkpoint saved") or 0))
time.sleep(600)
"""


def test_a_warning_ahead_of_the_limit_reaches_the_command(real):
    command = {"class_name": "CommandBackend", "command": ["python3", "-uc", SAVES_WHEN_WARNED]}
    ways = {"axes": [{"way": "bare"}, {"way": "srun", "slurm.srun.ntasks": 1}], "name_template": "{way}"}
    real.write(slurm={"sbatch": {"time": "00:01:00", "signal": "B:USR1@55"}}, backend=command, sweep=ways)
    assert real.run("run", timeout=90).returncode == 0
    logs = [real.session_dir / "entries" / way / "attempts" / "1" / "stdout.log" for way in ("bare", "srun")]
    assert [log.read_text() for log in logs] == ["checkpoint saved\n"] * 2


def test_a_restart_after_out_of_memory_asks_for_more(real):
    grow = [{"mode": "oom", "implementation": {"class_name": "GrowMemoryPolicy", "factor": 1.5}}]
    real.write(backend=first_time_only("{{ echo MemoryError >&2; exit 1; }}"), restart_policies=grow)
    assert real.run("run", timeout=60).returncode == 0
    assert real.ended_modes() == ["oom", "success"]
    asked = ("sacct", "-nPX", "-S", "now-1hour", "-j", real.job_ids()[0], "-o", "ReqTRES")
    real.wait(lambda: "mem=120M" in real.cluster.command(*asked))
