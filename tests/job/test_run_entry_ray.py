from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from live_job import Job, wait_for
from stand_in_ray import HEAD, SCRIPT, starts, temp_dir

from oellm_bench.core.resources import RayHead

DEMO = Path(__file__).parents[2] / "examples" / "demo" / "corpus_benchmark.py"


@pytest.mark.parametrize(
    ("script", "code", "returncode"), [("exit 0", 0, 0), ("exit 3", 3, 3), ("kill -9 $$", 137, -9)]
)
def test_exit_code_is_the_scripts_and_nothing_is_left(
    job: Job, stand_in: Callable[..., RayHead], script: str, code: int, returncode: int
) -> None:
    head = stand_in(HEAD + "exec sleep 600")
    job.plan("sh", "-c", f"(setsid sleep 600 &); {script}", ray=head)
    assert job.run().returncode == code
    assert job.record().returncode == returncode
    assert job.processes() == []
    assert not temp_dir(head).exists()
    assert [path.read_text() for path in job.folder.ray_cluster.rglob("raylet.out")] == ["text\n"]
    assert "Ray runtime started" in job.attempt().ray_startup.read_text()


def test_script_finds_its_own_head_and_no_other(job: Job, stand_in: Callable[..., RayHead], tmp_path: Path) -> None:
    head = stand_in(HEAD + "exec sleep 600", num_gpus=1, object_store_bytes=90_000_000)
    job.plan("sh", "-c", "env | grep ^RAY_ | sort", ray=head)
    foreign = {"RAY_ADDRESS": "other:1", "RAY_AUTH_TOKEN": "other", "RAY_AUTH_TOKEN_PATH": "/other"}
    job.run(SLURM_CPUS_PER_TASK="7", TMPDIR=str(tmp_path), **foreign)
    found = dict(line.split("=", 1) for line in job.attempt().stdout.read_text().splitlines())
    token = found.pop("RAY_AUTH_TOKEN")
    assert found == {"RAY_ADDRESS": "192.0.2.1:6400", "RAY_AUTH_MODE": "token"}
    assert len(token) == 64
    (line,) = starts(head)
    assert {"--num-cpus=7", "--num-gpus=1", "--object-store-memory=90000000", "--port=0"} <= set(line.split())
    assert len(str(temp_dir(head))) <= 43
    told = [path for path in job.folder.root.rglob("*.json") if token in path.read_text()]
    assert (told, token in line) == ([], False)


def test_head_waits_no_longer_than_it_has_to_unless_the_job_says_so(job: Job, stand_in: Callable[..., RayHead]) -> None:
    head = stand_in(f'env > "$0.environment"\n{HEAD}\nexec sleep 600')
    job.plan("true", ray=head)
    assert job.run(RAY_raylet_client_num_connect_attempts="7").returncode == 0
    told = Path(f"{head.executable}.environment").read_text().splitlines()
    wanted = {"RAY_raylet_client_num_connect_attempts=7", "RAY_raylet_client_connect_timeout_milliseconds=50"}
    assert {*wanted, "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0"} <= set(told)


def test_objects_that_were_spilled_are_removed_with_the_head(
    job: Job, stand_in: Callable[..., RayHead], tmp_path: Path
) -> None:
    spills = 'for word in "$@"; do case "$word" in --object-spilling-directory=*) echo > "${word#*=}/o";; esac; done'
    head = stand_in(f"{spills}\n{HEAD}\nexec sleep 600", spill_dir=str(tmp_path / "spill"), object_spilling=False)
    job.plan("true", ray=head)
    assert job.run().returncode == 0
    assert f"--object-spilling-directory={tmp_path}/spill/obr-spill-" in starts(head)[0]
    assert list((tmp_path / "spill").iterdir()) == []


@pytest.mark.parametrize(
    "state", ['{"command_started_at": 1.0}', '{"x": 1}', '{"failure": "nonsense", "message": ""}', "[]"]
)
def test_what_a_script_writes_in_place_of_the_payloads_word_is_survived(
    job: Job, stand_in: Callable[..., RayHead], state: str
) -> None:
    forges = f"echo '{state}' > $OELLM_BENCH_ENTRY_DIR/attempts/1/ray_state.json; kill -9 $PPID; sleep 60"
    job.plan("sh", "-c", forges, ray=stand_in(HEAD + "exec sleep 600"))
    job.run()
    assert job.result().error_mode in ("crash", "ray_start_failed") and job.result().reason
    assert job.processes() == []


def test_time_limit_begins_with_the_script(job: Job, stand_in: Callable[..., RayHead]) -> None:
    job.plan("true", ray=stand_in("sleep 1\n" + HEAD + "exec sleep 600"), timeout_s=0.9)
    assert job.run().returncode == 0
    assert job.exec_time_s() < 0.9


def test_time_limit_ends_script_and_head(job: Job, stand_in: Callable[..., RayHead]) -> None:
    job.plan("sh", "-c", "sleep 60 & sleep 60", ray=stand_in(HEAD + "exec sleep 600"), timeout_s=0.3)
    assert job.run().returncode == 124
    assert (job.record().failure, job.record().returncode) == ("timeout", -15)
    assert job.processes() == []


def test_signals_reach_the_script_beside_the_head(job: Job, stand_in: Callable[..., RayHead]) -> None:
    job.plan(sys.executable, "-c", SCRIPT, ray=stand_in(HEAD + "exec sleep 600"))
    process = job.start()
    job.wait_for_output("up")
    process.send_signal(signal.SIGUSR1)
    job.wait_for_output("usr1")
    process.terminate()
    process.communicate(timeout=40)
    assert process.returncode == 143
    assert job.attempt().stderr.read_text() == "saved\n"
    record = job.record()
    assert (record.failure, record.returncode) == ("cancelled", 1)


def test_head_that_ignores_term_is_killed(job: Job, stand_in: Callable[..., RayHead]) -> None:
    head = stand_in(f"trap '' TERM\n{HEAD}\nwhile :; do sleep 0.1; done")
    job.plan("sh", "-c", "exit 4", ray=head, timeout_s=2)
    assert job.run().returncode == 4
    assert job.record().failure == ""  # the head's slow end is not the script's
    assert job.processes() == []
    assert job.exec_time_s() < 2
    assert not temp_dir(head).exists()


def test_stop_while_the_head_stops_changes_nothing(job: Job, stand_in: Callable[..., RayHead]) -> None:
    head = stand_in(f"trap 'touch $0.stopping; sleep 1; exit' TERM\n{HEAD}\nwhile :; do sleep 0.05; done")
    job.plan("sh", "-c", "exit 4", ray=head)
    process = job.start()
    wait_for(Path(f"{head.executable}.stopping").exists, "the end of the head")
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 4
    assert job.record().failure == ""


def test_head_that_dies_is_named(job: Job, stand_in: Callable[..., RayHead], tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    gate_script = f"while ! [ -e '{gate}' ]; do sleep 0.02; done"
    head = stand_in(f"{HEAD}\n{gate_script}\nexit 9")
    script = f"touch '{gate}'; while [ -e /proc/$(cat '{gate}.pid') ]; do sleep 0.02; done; exit 1"
    head_with_pid = Path(head.executable)
    head_with_pid.write_text(head_with_pid.read_text().replace("#!/bin/sh", f"#!/bin/sh\necho $$ > '{gate}.pid'"))
    job.plan("sh", "-c", script, ray=head)
    assert job.run().returncode == 1
    assert job.record().message == "the Ray head ended with 9 before the command did"


def test_head_that_fails_is_started_again_and_then_reported(job: Job, stand_in: Callable[..., RayHead]) -> None:
    head = stand_in('echo "$@" >> "$0.starts"; echo "no route to anywhere" >&2; exit 1', start_attempts=3)
    job.plan("true", ray=head, contract=True)
    assert job.run().returncode == 90
    record = job.record()
    assert (record.failure, record.returncode) == ("ray_start_failed", None)
    assert "`ray start` ended with 1: no route to anywhere" in record.message
    assert job.result().error_mode == "ray_start_failed"
    assert len(starts(head)) == 3
    assert not temp_dir(head).exists()


def test_head_that_is_never_ready_is_reported(job: Job, stand_in: Callable[..., RayHead]) -> None:
    head = stand_in("echo thinking; exec sleep 600", startup_timeout_s=0.3, start_attempts=1)
    job.plan("true", ray=head)
    assert job.run().returncode == 90
    assert job.record().message == "the Ray head did not start: not ready after 0.3 s: thinking"
    assert job.processes() == []


def test_ray_that_is_not_there_is_reported(job: Job, tmp_path: Path) -> None:
    job.plan("true", ray=RayHead(enabled=True, executable=str(tmp_path / "no ray")))
    assert job.run().returncode == 90
    assert f"{tmp_path}/no ray: No such file or directory" in job.record().message


def test_script_that_is_not_there_is_a_crash(job: Job, stand_in: Callable[..., RayHead]) -> None:
    job.plan("no such script", ray=stand_in(HEAD + "exec sleep 600"))
    assert job.run().returncode == 127
    assert (job.record().failure, job.record().returncode) == ("crash", None)
    assert job.record().message == "cannot start no such script: No such file or directory"


def test_launcher_that_fails_is_no_fault_of_ray(job: Job) -> None:
    job.plan("true", launcher=("sh", "-c", "echo no image >&2; exit 255"), ray=RayHead(enabled=True))
    assert job.run().returncode == 255
    assert (job.record().failure, job.record().returncode) == ("crash", 255)
    assert job.record().message == "the launcher never ran the payload: no image"


def test_stop_while_the_head_starts(job: Job, stand_in: Callable[..., RayHead]) -> None:
    head = stand_in('echo "$@" >> "$0.starts"; exec sleep 600')
    job.plan("true", ray=head)
    process = job.start()
    wait_for(Path(f"{head.executable}.starts").exists, "the start of the head")
    process.terminate()
    process.communicate(timeout=40)
    assert process.returncode == 143
    assert (job.record().failure, job.record().returncode) == ("cancelled", None)
    assert job.processes() == []


@pytest.mark.ray
def test_demo_script_fails_its_first_attempt_when_asked_to(job: Job) -> None:
    results = str(job.folder.benchmark_results)
    argv = (sys.executable, str(DEMO), "--benchmark-results-path", results, "--limit", "10")
    job.plan(*argv, "--fail-first-attempt", contract=True, ray=RayHead(enabled=True))
    assert job.run().returncode == 1
    assert "deliberate failure of attempt 1" in job.attempt().stderr.read_text()
    assert job.result().error_mode == "crash"


def test_demo_script_refuses_to_run_without_a_head(job: Job) -> None:
    job.plan(sys.executable, str(DEMO), "--benchmark-results-path", str(job.folder.benchmark_results))
    assert job.run(RAY_ADDRESS="").returncode == 2
    assert "RAY_ADDRESS is empty" in job.attempt().stderr.read_text()
