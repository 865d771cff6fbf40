"""Races 1 to 3, 12, 16, 18, 21, 24, 25 and 29 on a real SLURM cluster whose daemons are well."""

from __future__ import annotations

import os
import shutil
import signal
import sys

import pytest

from tests.cluster.campaigns import shell
from tests.system.conftest import REAL_CLIENT

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]

TIMED_OUT = "echo 'sbatch: error: Batch job submission failed: Socket timed out on send/recv operation' >&2; exit 1"
SCRIPT = """\
import os, pathlib, sys
if os.environ["OELLM_BENCH_ATTEMPT"] == "1":
    pathlib.Path(os.environ["OELLM_BENCH_RESULTS_PATH"], "metrics.json").write_text('{"is_success": true}')
    sys.exit(3)
"""


def restarted_after(mode):
    return [{"mode": mode, "implementation": {"class_name": "AlwaysRestartPolicy", "max_retries": 2}}]


@pytest.fixture
def sbatch(real, monkeypatch):
    """Put a program in front of sbatch; in its script `$sbatch` is SLURM's own, `$calls` a file of its own."""
    folder = real.folder / "bin"
    folder.mkdir()
    head = f'#!/bin/bash\nsbatch={shutil.which("sbatch")} calls="{folder}/calls"\necho x >>"$calls"\n'
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def install(script):
        (folder / "sbatch").write_text(f"{head}{script}\n")
        (folder / "sbatch").chmod(0o755)

    yield install


def test_race_01_a_job_whose_sbatch_timed_out_is_adopted_on_a_real_cluster(real, sbatch):
    sbatch(f'"$sbatch" "$@" >/dev/null; {TIMED_OUT}')
    real.write(backend=shell("sleep 2"), sweep={"axes": {"n": [0, 1]}})
    assert real.run("submit").returncode == 4
    sbatch('exec "$sbatch" "$@"')
    assert real.run("monitor").returncode == 0
    real.assert_each_succeeded_once(2)
    assert [event["adopted"] for event in real.journal() if event["event"] == "Submitted"].count(True) == 1


@pytest.mark.parametrize("array", [False, True])
def test_race_02_jobs_of_a_killed_submitter_are_adopted_on_a_real_cluster(real, sbatch, array):
    sbatch('"$sbatch" "$@" >/dev/null; kill -9 "$PPID"')
    real.write(slurm={"array": array}, backend=shell("sleep 2"), sweep={"axes": {"n": [0, 1]}})
    assert real.run("submit").returncode == -signal.SIGKILL
    sbatch('exec "$sbatch" "$@"')
    assert real.run("submit").returncode == 0
    assert real.run("monitor").returncode == 0
    real.assert_each_succeeded_once(2)


def test_race_03_a_second_job_under_the_same_name_is_cancelled_on_a_real_cluster(real):
    real.write(backend=shell("sleep 3"))
    (job,) = real.json("submit")["jobs"]
    twin = ("--partition=long", "--mem=80", "--output=/dev/null", f"--job-name={job['token']}", "--wrap=sleep 300")
    number = real.cluster.command("sbatch", "--parsable", *twin).strip()
    assert real.run("monitor").returncode == 0
    told = ("squeue", "-h", "-t", "all", "-j", number, "-o", "%T")
    real.wait(lambda: real.cluster.command(*told).strip() == "CANCELLED")
    assert (real.ended_modes(), real.job_ids()) == (["success"], [job["job_id"]])


def test_race_12_a_job_that_does_not_exist_hides_no_other_on_a_real_cluster(real, sbatch):
    """The first submission gets lost on its way out: nobody ever knows a job of that name."""
    sbatch(f'[ "$(wc -l <"$calls")" -gt 1 ] || {{ {TIMED_OUT}; }}; exec "$sbatch" "$@"')
    client = {**REAL_CLIENT, "lookup_grace_s": 3.0}
    real.write(slurm={"client": client}, backend=shell("sleep 2"), sweep={"axes": {"n": [0, 1, 2]}})
    assert real.run("submit").returncode == 4
    assert real.run("monitor").returncode == 0
    real.assert_each_succeeded_once(3)


def test_race_16_jobs_that_ended_between_two_looks_are_judged_on_a_real_cluster(real):
    real.write(backend=shell("exit {n}"), sweep={"axes": {"n": [0, 3]}}, restart={"max_restarts": 0})
    jobs = [row["job_id"] for row in real.json("submit")["jobs"]]
    told = ("squeue", "-h", "-t", "all", "-j", ",".join(jobs), "-o", "%T")
    real.wait(lambda: sorted(real.cluster.command(*told).split()) == ["COMPLETED", "FAILED"])
    assert real.run("monitor").returncode == 1
    assert sorted(real.ended_modes()) == ["crash", "success"]
    assert {event["state"] for event in real.journal() if event["event"] == "Observed"} == {"COMPLETED", "FAILED"}


def test_race_18_a_cancel_after_the_end_takes_no_success_away_on_a_real_cluster(real):
    real.write(backend=shell("true"))
    (job,) = real.json("submit")["jobs"]
    told = ("squeue", "-h", "-t", "all", "-j", job["job_id"], "-o", "%T")
    real.wait(lambda: real.cluster.command(*told).strip() == "COMPLETED")
    real.run("cancel", real.session_dir.name)
    assert real.run("monitor").returncode == 0
    assert real.ended_modes() == ["success"]


def test_race_21_one_of_two_monitors_watches_and_a_killed_one_is_followed_on_a_real_cluster(real):
    real.write(backend=shell("sleep 6"), monitoring={"interval_s": 0.2})
    real.run("submit")
    first = real.start("monitor")
    real.wait(lambda: real.watcher() == first.pid)
    refused = real.run("monitor")
    assert refused.returncode == 2 and f"process {first.pid}" in refused.stderr
    first.kill()
    first.communicate()
    assert real.run("monitor").returncode == 0
    real.assert_each_succeeded_once(1)


def test_race_24_a_restart_is_not_judged_by_the_results_of_the_run_before_on_a_real_cluster(real):
    script = real.folder / "benchmark.py"
    script.write_text(SCRIPT)
    backend = {"class_name": "ScriptBackend", "script": str(script), "python": sys.executable}
    real.write(backend=backend, restart_policies=restarted_after("crash"), restart={"backoff_s": 0, "max_restarts": 1})
    assert real.run("run").returncode == 1
    assert real.ended_modes() == ["crash", "contract_error"]


def test_race_25_a_job_whose_plan_was_edited_while_it_waited_refuses_to_run_on_a_real_cluster(real):
    real.write(slurm={"sbatch": {"hold": True}}, backend=shell("echo planned"), restart_policies=[])
    (job,) = real.json("submit")["jobs"]
    sweep = real.session_dir / "sweep.json"
    sweep.write_text(sweep.read_text().replace("echo planned", "echo edited"))
    real.cluster.command("scontrol", "release", job["job_id"])
    assert real.run("monitor").returncode == 1
    assert real.ended_modes() == ["crash"]
    attempt = real.session_dir / "entries" / "c" / "attempts" / "1"
    assert "was changed after it was planned" in (attempt / f"slurm-{job['job_id']}.out").read_text()
    assert not (attempt / "stdout.log").exists()


def test_race_29_a_requeue_that_slurm_refuses_is_followed_by_a_new_job_on_a_real_cluster(real):
    policy = {**restarted_after("crash")[0], "how": "requeue"}
    gate = real.folder.parent / "go"
    first = f'[ "$OELLM_BENCH_ATTEMPT" -ge 2 ] || {{{{ while [ ! -e {gate} ]; do sleep 0.1; done; exit 3; }}}}'
    real.write(slurm={"sbatch": {"requeue": True}}, backend=shell(first), restart_policies=[policy])
    real.run("submit")
    real.wait_running()
    real.cluster.command("scontrol", "update", f"JobId={real.job_ids()[0]}", "Requeue=0")
    gate.touch()
    done = real.run("monitor")
    assert done.returncode == 0 and "is not requeued" in done.stderr
    assert real.ended_modes() == ["crash", "success"]
