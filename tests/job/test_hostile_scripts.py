"""Scripts that fight the runner with processes, signals, output and a full disk."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from live_job import MARK, Job, wait_for

from oellm_bench.core.result import ExitRecord
from oellm_bench.job.supervise import GRACE_S
from oellm_bench.monitoring.classify import Evidence, JobState, classify
from oellm_bench.rendering.directives import directives
from oellm_bench.rendering.sbatch import EntryReference, ScriptContext, render_entry

GOOD_METRICS = """printf '{"is_success": true, "files": 7}' > "$OELLM_BENCH_RESULTS_PATH/metrics.json"; """
OUTPUT_BYTES = int(os.environ.get("OELLM_BENCH_TEST_OUTPUT_MB", "200")) << 20
RUNNER_PEAK_BYTES = 40 << 20

# Daemons by the book: each forks twice, leads a session of its own and keeps no stream of ours.
DAEMONS = """
import json, os, pathlib, signal, sys, time

def daemon():
    os.setsid()
    if os.fork():
        os._exit(0)
    if sys.argv[1] == "ignore":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if sys.argv[1] == "return":
        signal.signal(signal.SIGTERM, lambda *_: os.fork())
    null = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(null, stream)
    os.write(ready, b".")
    while True:
        time.sleep(1)

heard, ready = os.pipe()
for _ in range(5):
    if not os.fork():
        daemon()
for _ in range(5):
    os.read(heard, 1)
out = pathlib.Path(os.environ["OELLM_BENCH_RESULTS_PATH"])
(out / "metrics.json").write_text(json.dumps({"is_success": True, "files": 7}))
"""


def run_as_batch_job(job: Job, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the entry as SLURM does: through the script that sbatch gets."""
    context = ScriptContext(session_dir=job.session, project="test", version="1", python=sys.executable)
    text = render_entry(EntryReference("k7q2m4xa", "entry_a"), (directives({}, walltime_s=60),), (), context)
    script = job.session / "entry.sbatch"
    script.write_text(text)
    return subprocess.run(
        ["bash", script, *arguments],
        env={**os.environ, MARK: job.mark},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def test_a_script_that_ignores_term_is_killed_soon_after_its_time_limit(job: Job) -> None:
    job.plan("sh", "-c", "trap '' TERM INT HUP; while :; do sleep 0.1; done", contract=True)
    began = time.monotonic()
    assert job.run("--timeout-s", "0.5").returncode == 124
    assert time.monotonic() - began < GRACE_S + 10
    record, result = job.record(), job.result()
    assert (record.failure, record.returncode) == ("timeout", -signal.SIGKILL)
    assert (result.error_mode, result.reason) == ("timeout", "stopped at its time limit of 0.5 s")
    assert job.processes() == []


@pytest.mark.parametrize("on_term", ["end", "ignore", "return"])
def test_daemons_of_a_success_are_ended_and_change_nothing(job: Job, on_term: str) -> None:
    job.plan(sys.executable, "-c", DAEMONS, on_term, contract=True)
    done = job.run()
    assert (done.returncode, job.result().error_mode, job.result().metrics["files"]) == (0, "success", 7)
    assert "ended 5 processes that the command had left running" in done.stdout
    assert job.processes() == []


def peak_bytes(process: subprocess.Popen[str]) -> int:
    """Wait for a process to end and return the most memory it was seen with."""
    peak = 0

    def has_ended() -> bool:
        nonlocal peak
        for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                peak = int(line.split()[1]) << 10
        return process.poll() is not None

    wait_for(has_ended, "the runner's end")
    return peak


def test_output_of_any_size_costs_the_runner_no_memory(job: Job) -> None:
    """OELLM_BENCH_TEST_OUTPUT_MB=2048 is the size that scripts have been seen to reach."""
    job.plan("sh", "-c", f"head -c {OUTPUT_BYTES} /dev/zero; {GOOD_METRICS}", contract=True)
    process = job.start()
    peak = peak_bytes(process)
    process.communicate()
    assert (process.returncode, job.result().error_mode) == (0, "success")
    assert job.attempt().stdout.stat().st_size == OUTPUT_BYTES
    job.attempt().stdout.unlink()  # pytest keeps the folders of three runs
    assert 0 < peak < RUNNER_PEAK_BYTES


@pytest.mark.parametrize(("name", "code"), [("TERM", 143), ("INT", 130)])
def test_a_script_that_tells_the_runner_to_stop_is_cancelled(job: Job, name: str, code: int) -> None:
    job.plan("sh", "-c", f"{GOOD_METRICS} kill -{name} $PPID; while :; do sleep 0.1; done", contract=True)
    assert job.run().returncode == code
    assert (job.record().failure, job.result().reason) == ("cancelled", f"received SIG{name}")


@pytest.mark.parametrize(("name", "code"), [("HUP", 129), ("QUIT", 131)])
def test_a_hangup_stops_the_command_and_is_recorded(job: Job, name: str, code: int) -> None:
    job.plan("sh", "-c", f"kill -{name} $PPID; while :; do sleep 0.1; done")
    assert job.run().returncode == code
    assert (job.record().failure, job.record().message) == ("cancelled", f"received SIG{name}")


def test_a_hangup_that_nohup_has_set_to_be_ignored_stays_so(job: Job) -> None:
    job.plan("sh", "-c", f"kill -HUP $PPID; {GOOD_METRICS}", contract=True)
    argv = ["nohup", *job.command()]
    assert subprocess.run(argv, capture_output=True, timeout=30, check=False).returncode == 0


RUNAWAY = """
import os, sys, time
if os.fork():
    sys.exit(0)
end = time.monotonic() + 20
while time.monotonic() < end:
    if os.fork():
        os._exit(0)
"""


def test_a_process_that_forks_faster_than_it_can_be_listed_is_ended(job: Job, tmp_path: Path) -> None:
    lock = tmp_path / "held by whoever of them lives"
    job.plan(sys.executable, "-c", f"import fcntl; f = open({str(lock)!r}, 'w'); fcntl.flock(f, 2)\n{RUNAWAY}")
    assert job.run().returncode == 0
    with lock.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_script_that_stops_the_runner_is_ended_by_the_next_signal(job: Job) -> None:
    job.plan("sh", "-c", "kill -STOP $PPID; echo up; while :; do sleep 0.1; done")
    process = job.start()
    job.wait_for_output("up")
    wait_for(lambda: b") T " in Path(f"/proc/{process.pid}/stat").read_bytes(), "the runner to be stopped")
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)  # SLURM sends it with each TERM
    process.communicate(timeout=30)
    assert (process.returncode, job.record().message) == (143, "received SIGTERM")


def test_where_the_runner_is_killed_the_batch_script_is_the_last_witness(job: Job) -> None:
    job.plan("sh", "-c", f"{GOOD_METRICS} kill -KILL $PPID; while :; do sleep 0.1; done", contract=True)
    done = run_as_batch_job(job, "1", "ob-0-k7q2m4xa-a1")
    assert done.returncode == 128 + signal.SIGKILL
    record = job.record()
    assert (record.token, record.returncode, record.failure) == ("ob-0-k7q2m4xa-a1", -signal.SIGKILL, "")
    verdict = classify(Evidence(state=JobState.FAILED, record=record, exit_code=137))
    assert verdict.reason == "killed by signal 9: the runner ended without writing its record"
    assert not job.folder.results.exists()
    wait_for(lambda: not job.processes(), "the command to get TERM")


@pytest.mark.parametrize("forge", ["mkfifo", "ln -s /dev/zero", "mkdir"])
def test_the_last_witness_replaces_what_is_no_record(job: Job, forge: str) -> None:
    job.plan("sh", "-c", f'{forge} "$OELLM_BENCH_ENTRY_DIR/attempts/1/exit.json"; kill -KILL $PPID')
    run_as_batch_job(job, "1", "token")
    assert job.attempt().exit.is_file() and not job.attempt().exit.is_symlink()
    assert job.record() == ExitRecord(
        token="token", attempt=1, returncode=-9, message="the runner ended without writing its record"
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB."""
    folder = tmp_path / "small disk"
    folder.mkdir()
    argv = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    mounted = subprocess.run(argv, capture_output=True, text=True, check=False)
    if mounted.returncode:
        if os.environ.get("CI") == "true" and os.geteuid() == 0:
            pytest.fail(f"root cannot mount: {mounted.stderr}")
        pytest.skip(f"needs to mount a file system: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def job_on_small_disk(make_job: Callable[[str], Job], small_disk: Path) -> Job:
    job = make_job("unused")
    job.session = small_disk / "session"
    return job


FILL = 'head -c 100000000 /dev/zero > "$1/big"; exit 1'


def test_a_full_disk_is_one_line_and_harms_nothing(job_on_small_disk: Job) -> None:
    job = job_on_small_disk
    job.plan("sh", "-c", GOOD_METRICS, contract=True)
    assert job.run().returncode == 0
    job.plan("sh", "-c", FILL, "sh", str(job.folder.benchmark_results), contract=True)
    kept = (job.session / "sweep.json", job.attempt(1).results, job.attempt(1).exit)
    earlier = {path: path.read_bytes() for path in kept}
    done = job.run()
    assert done.returncode != 0
    assert "No space left on device" in done.stdout.splitlines()[-1]
    assert "Traceback" not in done.stderr and done.stderr.count("\n") <= 1
    assert {path: path.read_bytes() for path in kept} == earlier
    assert not list(job.session.rglob(".*")), "parts of files were left"
    (job.folder.benchmark_results / "big").unlink()
    job.plan("sh", "-c", GOOD_METRICS, contract=True)
    assert job.run().returncode == 0


def test_a_full_disk_leaves_room_for_the_record(job_on_small_disk: Job) -> None:
    job = job_on_small_disk
    job.plan("sh", "-c", FILL, "sh", str(job.folder.benchmark_results), contract=True)
    job.run()
    assert job.record().returncode == 1
    assert "No space left on device" in job.record().message


def test_a_disk_that_only_scratch_has_filled_loses_nothing(job_on_small_disk: Job) -> None:
    job = job_on_small_disk
    job.plan("sh", "-c", FILL, "sh", str(job.folder.scratch), contract=True)
    assert job.run().returncode == 1
    assert (job.record().returncode, job.result().error_mode) == (1, "crash")
    assert not job.folder.scratch.exists()
