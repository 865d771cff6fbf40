"""The observer comes and goes with the command, whatever ends that, and harms nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from live_job import Job, wait_for

from oellm_bench.core.capture import Capture

OFTEN = Capture(interval_s=0.1, packages=False)
STUCK = """
import time
def wait_for_godot():
    print("up", flush=True)
    time.sleep(600)
wait_for_godot()
"""


def watched(job: Job) -> tuple[subprocess.Popen[str], int]:
    """Start the attempt and return its runner and its observer, once both command and observer are at work."""
    process = job.start()
    job.wait_for_output("up")
    wait_for(lambda: job.heartbeat().get("processes"), "a heartbeat")
    [observer] = job.observers()
    return process, observer


def test_the_stacks_of_a_command_that_is_stopped_at_its_time_limit_are_saved(job: Job) -> None:
    job.plan("sh", "-c", '"$0" -c "$1"; exit', sys.executable, STUCK, capture=OFTEN)
    assert job.run("--timeout-s", "3").returncode == 124
    text = job.attempt().stacks.read_text()
    assert "wait_for_godot" in text and f"process {job_pid(text)}: " in text
    assert "(no Python)" in text  # the shell
    assert job.record().message == "stopped at its time limit of 3 s"
    assert job.processes() == []


def test_stacks_show_no_secret_of_a_command_line(job: Job) -> None:
    job.plan(sys.executable, "-c", STUCK, "--api-key=hush1", "--hf-token", "hush2", "--seed=7", capture=OFTEN)
    job.run("--timeout-s", "2")
    text = job.attempt().stacks.read_text().splitlines()[0]
    assert "--api-key=***" in text and "--seed=7" in text and "hush" not in text


def job_pid(text: str) -> str:
    """Return the first process that a stacks.txt tells of."""
    return text.split("process ", 1)[1].split(":", 1)[0]


@pytest.mark.parametrize("capture", [Capture(interval_s=0.1, stacks=False), Capture(enabled=False)])
def test_no_stacks_where_nobody_wants_them(job: Job, capture: Capture) -> None:
    job.plan(sys.executable, "-c", STUCK, capture=capture)
    assert job.run("--timeout-s", "1").returncode == 124
    assert not job.attempt().stacks.exists()


def test_a_cancel_saves_no_stacks_and_is_quick(job: Job) -> None:
    job.plan(sys.executable, "-c", STUCK, capture=OFTEN)
    process, _ = watched(job)
    began = time.monotonic()
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143 and time.monotonic() - began < 5
    assert not job.attempt().stacks.exists() and job.processes() == []
    assert job.result().resources["peak_processes"] == 1


def test_a_cancel_by_the_monitor_saves_them(job: Job) -> None:
    job.plan(sys.executable, "-c", STUCK, capture=OFTEN)
    process, _ = watched(job)
    job.attempt().stop_order.write_text('{"by": "stall", "reason": "no output"}')
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143
    assert "wait_for_godot" in job.attempt().stacks.read_text()
    record, result = job.record(), job.result()
    assert (record.failure, result.error_mode) == ("stall", "stall") and result.reason.startswith("no output")


def test_a_cancel_does_not_wait_for_the_list_of_packages(job: Job, tmp_path: Path) -> None:
    hanging = tmp_path / "python-that-hangs"
    hanging.write_text("#!/bin/sh\necho up\nexec sleep 600\n")
    hanging.chmod(0o755)
    job.plan(str(hanging))
    process, _ = watched(job)
    process.terminate()
    began = time.monotonic()
    process.communicate(timeout=30)
    assert process.returncode == 143 and time.monotonic() - began < 8
    assert job.processes() == []


def test_a_killed_runner_takes_the_observer_with_it(job: Job) -> None:
    job.plan(sys.executable, "-c", STUCK, capture=OFTEN)
    process, _ = watched(job)
    process.kill()
    process.communicate(timeout=30)
    wait_for(lambda: not job.processes(), "the end of all")


@pytest.mark.parametrize("argv", [("/nonexistent/program",), ("/nonexistent/python3", "-c", "pass")])
def test_a_command_that_cannot_be_started_leaves_no_observer(job: Job, argv: tuple[str, ...]) -> None:
    job.plan(*argv)
    assert job.run().returncode == 127
    assert job.processes() == []
    assert "cannot start /nonexistent/" in job.record().message


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_an_observer_that_is_ended_or_hangs_harms_nothing(job: Job, number: signal.Signals) -> None:
    code = "import os, sys, time\nprint('up', flush=True)\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)"
    job.plan(sys.executable, "-c", code, str(job.session / "go"), capture=OFTEN)
    process, observer = watched(job)
    os.kill(observer, number)
    if number == signal.SIGKILL:
        wait_for(lambda: not job.observers(), "its end")
        (job.session / "go").touch()
    else:
        process.terminate()
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stderr) == ((0, "") if number == signal.SIGKILL else (143, ""))
    assert "left running" not in stdout
    assert job.result().resources["peak_rss_bytes"] > 0
    assert job.processes() == []


def test_where_nothing_is_to_be_captured_nothing_is(job: Job) -> None:
    job.plan("sh", "-c", "echo up; exec sleep 600", capture=Capture(enabled=False))
    process = job.start()
    job.wait_for_output("up")
    assert job.observers() == []
    process.terminate()
    process.communicate(timeout=30)
    assert not job.folder.artifacts.exists() and not job.attempt().heartbeat.exists()
    assert job.result().resources == {} and not list(job.session.rglob("*.pyz"))


HOSTILE = """
E=$OELLM_BENCH_ENTRY_DIR A=$E/attempts/1
until [ -e "$A/heartbeat.json" ]; do sleep 0.05; done
rm "$E/artifacts/resource-stats.jsonl"; {make} "$E/artifacts/resource-stats.jsonl"; {make} "$A/stacks.txt"
rm "$A/heartbeat.json"; until [ -e "$A/heartbeat.json" ]; do sleep 0.05; done
echo up; exec sleep 600
"""


@pytest.mark.parametrize("make", ['ln -s "$1"', "mkfifo", "mkdir"])
def test_what_a_script_puts_in_place_of_the_records_is_not_written_to(job: Job, tmp_path: Path, make: str) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    job.plan("sh", "-c", HOSTILE.format(make=make), "sh", str(precious), capture=OFTEN)
    process, _ = watched(job)
    job.attempt().stop_order.touch()
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode == 143 and job.result().resources["peak_processes"] >= 1
    assert precious.read_text() == "precious"
