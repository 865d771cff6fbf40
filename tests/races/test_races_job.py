"""Races 24, 27 and 28: what earlier attempts, neighbours and killed runners leave in a job's way."""

from __future__ import annotations

import contextlib
import fcntl
import json
import re
import shutil
import sys
import tempfile
import time
from pathlib import Path

import psutil
import pytest

from oellm_bench.core.resources import RayHead
from tests.job.live_job import wait_for
from tests.job.stand_in_ray import HEAD, SCRIPT, starts, temp_dir

DEMO = Path(__file__).parents[2] / "examples" / "demo" / "corpus_benchmark.py"
WRITES_RESULTS = ("sh", "-c", 'echo \'{"is_success": true}\' >"$OELLM_BENCH_RESULTS_PATH/metrics.json"')


def test_race_24_results_of_an_earlier_attempt_are_not_taken(job):
    job.plan(*WRITES_RESULTS, contract=True)
    assert job.run().returncode == 0
    job.plan("true", contract=True)
    assert job.run().returncode == 65
    assert job.result().attempt == 2
    assert (job.attempt(1).root / "benchmark_results" / "metrics.json").exists()
    assert list(job.folder.benchmark_results.iterdir()) == []


def test_race_24_a_requeued_attempt_keeps_its_logs_and_sets_its_results_aside(job):
    job.plan("sh", "-c", 'echo run; touch "$OELLM_BENCH_RESULTS_PATH/part"')
    for restarts in ("", "1", "2"):
        job.run("--attempt", "1", SLURM_RESTART_COUNT=restarts)
    assert job.attempt().stdout.read_text() == "run\n" * 3
    assert job.record().restarts == 2
    aside = sorted(path.name for path in job.attempt().root.glob("benchmark_results*"))
    assert aside == ["benchmark_results", "benchmark_results.1"]


def test_race_24_a_restart_that_wrote_nothing_is_not_judged_by_the_first_attempts_results(watch, cluster):
    crash = [{"mode": "crash", "implementation": {"class_name": "AlwaysRestartPolicy", "max_retries": 1}}]
    watched = watch(restart_policies=crash, restart={"backoff_s": 0})
    watched.submit()
    watched.leave_record(returncode=1)
    cluster.queue(watched.queue_row("FAILED", code=1 << 8))
    watched.look(1)
    assert watched.attempt().number == 2
    watched.leave_record()
    shutil.copy(watched.files(0, 1).results, watched.files(0, 2).results)
    cluster.queue(watched.queue_row("COMPLETED"))
    watched.look(1)
    watched.look(60)
    assert watched.modes() == ["crash", "unknown"]


def test_race_24_the_record_of_an_attempt_of_another_name_is_not_this_ones(watch, cluster):
    watched = watch(restart_policies=[])
    watched.submit()
    watched.leave_record()
    exit_file = watched.files().exit
    record = json.loads(exit_file.read_text())
    exit_file.write_text(json.dumps({**record, "token": "ob-00000000-other-a1"}))
    cluster.queue(watched.queue_row("FAILED", code=3 << 8))
    watched.look(1)
    watched.look(60)
    assert watched.modes() == ["crash"]


@pytest.mark.ray
def test_race_27_two_entries_with_ray_at_once_do_not_meet(make_job):
    jobs = [make_job("one"), make_job("two")]
    for each in jobs:
        results = str(each.folder.benchmark_results)
        argv = [sys.executable, str(DEMO), "--benchmark-results-path", results, "--limit", "60"]
        argv += ["--fail-first-attempt"]
        each.plan(*argv, contract=True, ray=RayHead(enabled=True, num_cpus=1, object_store_bytes=90_000_000))
    began = time.time()
    processes = [each.start("--attempt", "2") for each in jobs]
    logs = [process.communicate(timeout=150)[0] for process in processes]
    elapsed_s = time.time() - began
    assert [process.returncode for process in processes] == [0, 0], logs
    states = [json.loads((each.attempt(2).root / "ray_state.json").read_text()) for each in jobs]
    assert states[0]["address"] != states[1]["address"]
    assert [each.result().metrics["files"] for each in jobs] == [60, 60]
    for each, state in zip(jobs, states, strict=True):
        assert each.exec_time_s() < elapsed_s - state["ready_s"] - state["stop_s"]
        assert any(each.folder.ray_cluster.rglob("raylet.out"))
        folders = re.findall(r"/\S+/obr-\w+", each.attempt(2).ray_startup.read_text())
        assert [Path(folder).exists() for folder in set(folders)] == [False]
        assert each.processes() == []


def test_race_27_a_head_whose_port_was_taken_is_started_again(job, stand_in):
    taken = "echo 'OSError: [Errno 98] Address already in use' >&2; exit 1"
    first = f'if ! [ -e "$0.starts" ]; then echo "$@" > "$0.starts"; {taken}; fi\n'
    head = stand_in(first + HEAD + "exec sleep 600")
    job.plan("sh", "-c", "exit 5", ray=head)
    assert job.run().returncode == 5
    assert len(starts(head)) == 2 and len({line for line in starts(head)}) == 2
    assert all("--port=0" in line.split() for line in starts(head))


def test_race_28_what_the_command_of_a_killed_runner_had_started_ends_with_the_job(campaign):
    command = "setsid sleep 600 & (setsid sh -c 'trap \"\" TERM; sleep 600' &); echo up; wait"
    campaign.write(backend={"class_name": "CommandBackend", "command": command}, restart_policies=[])
    campaign.run("submit")
    log = campaign.session_dir / "entries" / "c" / "attempts" / "1" / "stdout.log"
    campaign.wait(lambda: log.exists() and log.read_text() == "up\n")
    (runner,) = [p for p in psutil.process_iter() if is_runner(p, campaign.folder)]
    runner.kill()
    assert campaign.run("monitor").returncode == 1
    campaign.wait(lambda: campaign.processes() == [])
    (row,) = campaign.json("results")["entries"]
    assert (row["error_mode"], row["attempts"]) == ("crash", 1)


def is_runner(process, folder):
    with contextlib.suppress(psutil.NoSuchProcess):
        line = process.cmdline()
        return "oellm_bench.run_entry" in line and str(folder) in " ".join(line)
    return False


def test_race_28_a_killed_runner_takes_script_and_head_with_it(job, stand_in):
    head = stand_in(HEAD + "exec sleep 600")
    job.plan(sys.executable, "-c", SCRIPT, ray=head)
    process = job.start()
    job.wait_for_output("up")
    process.kill()
    process.communicate(timeout=30)
    wait_for(lambda: not job.processes(), "the end of the tree")
    assert not temp_dir(head).exists()


def test_race_28_folders_whose_owner_was_killed_are_removed_by_the_next_head_and_all_others_stay(
    job, stand_in, monkeypatch
):
    with tempfile.TemporaryDirectory(prefix="obt-", dir="/tmp") as name:
        monkeypatch.setenv("TMPDIR", name)
        for folder in ("obr-ownerless", "obr-owned", "obr-being-made"):
            (Path(name) / folder).mkdir()
        (Path(name) / "obr-ownerless" / "owner.lock").touch()
        with (Path(name) / "obr-owned" / "owner.lock").open("w") as owner:
            fcntl.flock(owner, fcntl.LOCK_EX)
            job.plan("true", ray=stand_in(HEAD + "exec sleep 600"))
            assert job.run().returncode == 0
        assert sorted(path.name for path in Path(name).iterdir()) == ["obr-being-made", "obr-owned"]


def test_race_25_a_job_whose_plan_was_edited_after_it_was_sent_refuses_to_run(job):
    job.plan("sh", "-c", "echo planned")
    sweep = job.session / "sweep.json"
    planned = sweep.read_text()
    sweep.write_text(planned.replace("echo planned", "echo edited"))
    done = job.run()
    assert done.returncode == 2 and f"{sweep} was changed after it was planned" in done.stderr
    assert not job.attempt().root.exists()
    sweep.write_text(planned)
    assert job.run().returncode == 0
    assert job.attempt().stdout.read_text() == "planned\n"
