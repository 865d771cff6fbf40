"""What an attempt uses, and how far it is, as the observer beside it sees that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from live_job import MARK, Job, wait_for

from oellm_bench.core.capture import Capture
from oellm_bench.core.requirement import Requirement

OFTEN = Capture(interval_s=0.1, packages=False)
NEVER = Capture(interval_s=3600.0, packages=False)  # the first sample and the last

UNTIL = """
import os, sys, time
def until(name):
    while not os.path.exists(os.path.join(os.environ["OELLM_BENCH_SCRATCH"], name)):
        time.sleep(0.01)
"""
BURN = """
import time
def burn(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
"""


def let_go(job: Job, name: str = "go") -> None:
    (job.folder.scratch / name).touch()


def resources(job: Job) -> dict[str, Any]:
    return dict(job.result().resources)


def test_memory_is_seen_while_it_is_held_and_can_be_required(job: Job) -> None:
    bound = Requirement(metric="peak_rss_bytes", max_value=100e6)
    code = f"{UNTIL}\nheld = b'x' * 200_000_000\nuntil('go')\ndel held\nuntil('gone')"
    job.plan(sys.executable, "-c", code, capture=OFTEN, requirements=(bound,))
    process = job.start()
    wait_for(lambda: job.heartbeat().get("rss_bytes", 0) >= 200e6, "200 MB to be seen")
    let_go(job)
    wait_for(lambda: job.heartbeat()["rss_bytes"] < 100e6, "them to be seen gone")
    let_go(job, "gone")
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert 200e6 <= resources(job)["peak_rss_bytes"] < 400e6
    assert job.result().error_mode == "requirements_not_met"
    assert "peak_rss_bytes" in job.result().reason and "above max_value" in job.result().reason
    rows = job.artifact("resource-stats.jsonl")
    assert max(row["rss_bytes"] for row in rows) == resources(job)["peak_rss_bytes"]
    assert [row["at"] for row in rows] == sorted(row["at"] for row in rows)


BURNERS = f"""{UNTIL}{BURN}
import subprocess
code = {BURN!r} + "burn(0.4)"
burn(0.4)
subprocess.run([sys.executable, "-c", code])
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        burn(0.4)
        open(os.path.join(os.environ["OELLM_BENCH_SCRATCH"], "burnt"), "w").close()
    os._exit(0)
os.wait()
until("burnt")
"""


def test_cpu_time_is_that_of_all_processes_between_two_samples_too(job: Job) -> None:
    job.plan(sys.executable, "-c", BURNERS, capture=NEVER)
    assert job.run().returncode == 0
    assert 1.2 <= resources(job)["cpu_s"] < 2.4
    assert 1.2 <= job.heartbeat()["cpu_s"] < 2.4
    assert job.artifact("resource-stats.jsonl")[-1]["cpu_percent"] > 0


def test_cpu_time_of_what_ended_before_the_command_was_stopped_counts(job: Job) -> None:
    script = '"$0" -c "$1"; "$0" -c "$1"; echo burnt; exec sleep 60'
    job.plan("sh", "-c", script, sys.executable, f"{BURN}\nburn(0.4)", capture=NEVER)
    process = job.start()
    job.wait_for_output("burnt")
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert 0.8 <= resources(job)["cpu_s"] < 2.0


def test_what_the_observer_itself_uses_is_not_the_commands(job: Job) -> None:
    seen = """
import os, pathlib, time
beat = pathlib.Path(os.environ["OELLM_BENCH_ENTRY_DIR"], "attempts", "1", "heartbeat.json")
while not (beat.exists() and '"peak_processes": 1' in beat.read_text()):
    time.sleep(0.1)
time.sleep(1)
"""
    job.plan(sys.executable, "-c", seen, capture=Capture(interval_s=0.02))
    assert job.run().returncode == 0
    assert resources(job)["cpu_s"] < 0.4
    assert resources(job)["peak_processes"] == 1


WRITER = f"""{UNTIL}
import json, subprocess
if len(sys.argv) == 1:
    subprocess.run([sys.executable, "-c", {UNTIL!r} + '''
with open(os.path.join(os.environ["OELLM_BENCH_SCRATCH"], "data"), "wb") as stream:
    stream.write(os.urandom(20_000_000))
    stream.flush()
    os.fsync(stream.fileno())
print(open("/proc/self/io").read(), flush=True)
until("ended")
'''])
    until("go")
"""


def test_bytes_are_counted_once_whoever_waited_for_their_writer(job: Job) -> None:
    job.plan(sys.executable, "-c", WRITER, capture=OFTEN)
    process = job.start()
    job.wait_for_output("cancelled_write_bytes")
    told = dict(line.split(": ") for line in job.attempt().stdout.read_text().splitlines() if line)
    written = int(told["write_bytes"])
    if written < 20_000_000:
        pytest.skip("scratch is on no disk")
    wait_for(lambda: job.heartbeat().get("write_bytes", 0) >= written, "the bytes to be seen")
    let_go(job, "ended")
    wait_for(lambda: job.heartbeat()["processes"] == 1, "the writer to be seen gone")
    let_go(job)
    process.communicate(timeout=30)
    assert written <= resources(job)["write_bytes"] < 1.2 * written


@pytest.fixture
def outsider(job: Job) -> Iterator[subprocess.Popen[str]]:
    """A task as srun starts them: below no process of the job's script, named by its environment."""
    job.session.mkdir(parents=True)
    go = job.session / "outsider may go"
    wait = f"while not os.path.exists({str(go)!r}):\n time.sleep(0.01)"
    code = f"{BURN}\nimport os\nheld = b'x' * 100_000_000\nburn(0.5)\n{wait}"
    named = {"OELLM_BENCH_ENTRY_DIR": str(job.folder.root), "OELLM_BENCH_ATTEMPT": "1", MARK: job.mark}
    process = subprocess.Popen([sys.executable, "-c", code], env={**os.environ, **named}, text=True)
    yield process
    process.kill()
    process.wait()


def test_tasks_of_srun_are_counted(job: Job, outsider: subprocess.Popen[str]) -> None:
    job.plan(sys.executable, "-c", f"{UNTIL}\nuntil('go')", capture=OFTEN)
    process = job.start()
    wait_for(lambda: job.heartbeat().get("cpu_s", 0) >= 0.5, "its CPU time to be seen")
    (job.session / "outsider may go").touch()
    outsider.wait(timeout=30)
    wait_for(lambda: job.heartbeat()["processes"] == 1, "it to be seen gone")
    let_go(job)
    process.communicate(timeout=30)
    assert resources(job)["peak_rss_bytes"] >= 100e6
    assert 0.5 <= resources(job)["cpu_s"] < 1.5  # what it used stays, its parent is none of ours
    assert resources(job)["peak_processes"] == 2


LOOKER = """
import sys
from oellm_bench.observer.processes import Processes
processes = Processes(int(sys.argv[1]), entry_dir="/some/entry", attempt=1)
for line in sys.stdin:
    print(*(process.pid for process in processes.members()), flush=True)
"""


def test_a_task_is_ours_from_its_exec_on(tmp_path: Path) -> None:
    root = subprocess.Popen(["sleep", "60"])
    script = "read line; OELLM_BENCH_ENTRY_DIR=/some/entry OELLM_BENCH_ATTEMPT=1 exec sleep 60"
    task = subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE, text=True)
    looker = subprocess.Popen(
        [sys.executable, "-c", LOOKER, str(root.pid)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert task.stdin and looker.stdin and looker.stdout

    def seen() -> str:
        assert looker.stdin and looker.stdout
        looker.stdin.write("look\n")
        looker.stdin.flush()
        return looker.stdout.readline().strip()

    try:
        assert seen() == ""
        task.stdin.write("go\n")
        task.stdin.flush()
        wait_for(lambda: b"/some/entry" in Path(f"/proc/{task.pid}/environ").read_bytes(), "the task to exec")
        assert seen() == str(task.pid)
    finally:
        for process in (root, task, looker):
            process.kill()
            process.communicate()


REPORTS = f"""{UNTIL}
print("iteration 11/30 tok/s 99", flush=True)
print("iteration 12/30 tok/s nan", "iteration 13", sep="\\n", end="", flush=True)
until("go")
"""


def test_the_heartbeat_goes_on_in_silence_and_tells_how_far_the_command_is(job: Job) -> None:
    pattern = r"iteration (?P<iteration>\d+)(/(?P<total>\d+) tok/s (?P<throughput>\S+))?"
    job.plan(sys.executable, "-c", REPORTS, capture=OFTEN, progress=pattern)
    process = job.start()
    wait_for(lambda: job.heartbeat().get("progress"), "progress")
    first = job.heartbeat()
    wait_for(lambda: job.heartbeat()["at"] >= first["at"] + 0.5, "it to go on")
    later = job.heartbeat()
    told = {"iteration": 12, "total": 30, "throughput": "nan", "at": first["progress"]["at"]}
    assert first["progress"] == later["progress"] == told
    assert later["elapsed_s"] > first["elapsed_s"] and later["pid"] == process.pid
    assert later["log_bytes"] == job.attempt().stdout.stat().st_size
    let_go(job)
    process.communicate(timeout=30)
    assert process.returncode == 0
    assert resources(job)["progress"] == told
    json.dumps(resources(job), allow_nan=False)


def test_a_requeued_attempt_does_not_begin_with_the_heartbeat_of_before(job: Job) -> None:
    job.plan("true", capture=Capture(enabled=False))
    job.attempt().root.mkdir(parents=True)
    job.attempt().heartbeat.write_text(json.dumps({"attempt": 1, "at": 10.0, "progress": {"iteration": 3, "at": 5.0}}))
    assert job.run("--attempt", "1").returncode == 0
    assert job.heartbeat() == {} and resources(job) == {}
