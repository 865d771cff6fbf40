from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from live_job import MARK, Job

from oellm_bench.core.requirement import Requirement

IGNORE_TERM = "trap '' TERM; echo up; while :; do sleep 0.1; done"


def writes(metrics: str) -> tuple[str, ...]:
    """Return a command that writes metrics.json and exits 0."""
    return ("sh", "-c", 'printf %s "$1" > "$OELLM_BENCH_RESULTS_PATH/metrics.json"', "sh", metrics)


@pytest.mark.parametrize(
    ("script", "code", "returncode"),
    [("exit 0", 0, 0), ("exit 3", 3, 3), ("exit 255", 255, 255), ("kill -9 $$", 137, -9)],
)
def test_exit_code_is_the_commands(job: Job, script: str, code: int, returncode: int) -> None:
    job.plan("sh", "-c", script)
    assert job.run("--token", "ob-0-k7q2m4xa-a1").returncode == code
    record = job.record()
    assert (record.returncode, record.failure, record.attempt) == (returncode, "", 1)
    assert record.token == "ob-0-k7q2m4xa-a1"
    assert job.result().success is (code == 0)


def test_command_gets_launcher_environment_folder_and_no_input(job: Job, tmp_path: Path) -> None:
    code = "import json, os, sys; print(json.dumps([os.getcwd(), dict(os.environ), sys.stdin.read()]))"
    job.plan(
        *(sys.executable, "-c", code),
        launcher=("env", "LAUNCHED=yes"),
        environment={"COLOUR": "it's blue"},
        cwd=str(tmp_path),
    )
    job.run("--attempt", "4")
    cwd, environment, stdin = json.loads(job.attempt(4).stdout.read_text())
    assert (cwd, stdin) == (str(tmp_path), "")
    expected = {
        "LAUNCHED": "yes",
        "COLOUR": "it's blue",
        "OELLM_BENCH_SESSION_DIR": str(job.session),
        "OELLM_BENCH_ENTRY_DIR": str(job.folder.root),
        "OELLM_BENCH_ENTRY": "entry_a",
        "OELLM_BENCH_ENTRY_ID": "k7q2m4xa",
        "OELLM_BENCH_ATTEMPT": "4",
        "OELLM_BENCH_RESULTS_PATH": str(job.folder.benchmark_results),
        "OELLM_BENCH_SCRATCH": str(job.folder.scratch),
    }
    assert {name: environment.get(name) for name in expected} == expected


def test_timeout_ends_the_whole_tree(job: Job) -> None:
    job.plan("sh", "-c", "sleep 60 & sleep 60")
    assert job.run("--timeout-s", "0.3").returncode == 124
    record = job.record()
    assert (record.failure, record.returncode) == ("timeout", -15)
    assert record.message == "stopped at its time limit of 0.3 s"
    assert job.result().error_mode == "timeout"
    assert job.processes() == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_to_the_runner_stops_the_command(job: Job, number: signal.Signals, code: int) -> None:
    job.plan("sh", "-c", "trap 'echo saved; exit 0' TERM; echo up; while :; do sleep 0.05; done")
    process = job.start()
    job.wait_for_output("up")
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == code
    record = job.record()
    assert (record.failure, record.returncode) == ("cancelled", 0)
    assert record.message == f"received {number.name}"
    assert "saved" in job.attempt().stdout.read_text()


BOTH_AT_ONCE = {
    "the runner's first": "kill -STOP $PPID; kill -TERM $PPID; (sleep 0.3; kill -CONT $PPID) & kill -TERM $$",
    "the command's first": "(sleep 0.05; kill -TERM $PPID) & kill -TERM $$",
}


@pytest.mark.parametrize("script", BOTH_AT_ONCE.values(), ids=BOTH_AT_ONCE)
def test_command_that_was_stopped_along_with_the_runner_is_no_crash(job: Job, script: str) -> None:
    """A scheduler sends TERM to all processes of a job at once: the command may be gone before we hear of it."""
    job.plan("sh", "-c", script)
    assert job.run().returncode == 128 + signal.SIGTERM
    assert (job.record().failure, job.record().returncode) == ("cancelled", -signal.SIGTERM)


def test_command_that_ends_itself_by_a_signal_has_crashed(job: Job) -> None:
    job.plan("sh", "-c", "kill -TERM $$")
    assert job.run().returncode == 128 + signal.SIGTERM
    assert (job.record().failure, job.result().error_mode) == ("", "crash")


def test_command_that_ignores_term_is_killed(job: Job) -> None:
    job.plan("sh", "-c", IGNORE_TERM)
    process = job.start()
    job.wait_for_output("up")
    process.terminate()
    process.communicate(timeout=40)
    assert process.returncode == 143
    assert job.record().returncode == -9
    assert job.processes() == []


@pytest.mark.parametrize("ignored", ["INT", "CHLD", "INT CHLD TERM"])
def test_signals_that_a_shell_had_ignored_work_again(job: Job, ignored: str) -> None:
    job.plan(sys.executable, "-c", "import signal; print(signal.getsignal(signal.SIGINT), flush=True)")
    subprocess.run(
        ["sh", "-c", f'trap "" {ignored}; "$@"', "sh", *job.command()],
        env={**os.environ, MARK: job.mark},
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=30,
    )
    assert "default_int_handler" in job.attempt().stdout.read_text()


@pytest.mark.parametrize("wrapper", [(), ("sh", "-c", '"$@"; exit $?', "sh")], ids=["direct", "wrapped"])
def test_usr1_reaches_the_process_that_handles_it(job: Job, wrapper: tuple[str, ...]) -> None:
    code = """
import signal, sys, time
signal.signal(signal.SIGUSR1, lambda *_: sys.exit("checkpoint written"))
print("up", flush=True)
while True:
    time.sleep(0.05)
"""
    job.plan(*wrapper, sys.executable, "-c", code)
    process = job.start()
    job.wait_for_output("up")
    process.send_signal(signal.SIGUSR1)
    process.communicate(timeout=30)
    assert process.returncode == 1
    assert job.attempt().stderr.read_text() == "checkpoint written\n"
    assert job.record().failure == ""


def test_usr2_does_not_kill_a_command_without_a_handler(job: Job, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    job.plan("sh", "-c", 'echo up; while ! [ -e "$1" ]; do sleep 0.02; done; exit 5', "sh", str(gate))
    process = job.start()
    job.wait_for_output("up")
    process.send_signal(signal.SIGUSR2)
    process.send_signal(signal.SIGCONT)
    gate.touch()
    process.communicate(timeout=30)
    assert process.returncode == 5


def test_daemon_left_behind_is_ended_and_keeps_nobody_waiting(job: Job) -> None:
    job.plan("sh", "-c", "(setsid sleep 60 &); sleep 60 & exit 0")
    began = time.monotonic()
    done = job.run()
    assert done.returncode == 0
    assert "ended 2 processes that the command had left running" in done.stdout
    assert job.processes() == []
    assert time.monotonic() - began < 20
    assert job.exec_time_s() < 2


def test_daemon_that_ignores_term_is_killed(job: Job) -> None:
    job.plan("sh", "-c", 'setsid sh -c "$1" & exit 4', "sh", IGNORE_TERM)
    assert job.run().returncode == 4
    assert job.processes() == []


def test_large_output_that_is_no_text_is_kept_as_it_is(job: Job) -> None:
    code = "import sys; [sys.stdout.buffer.write(bytes(range(256)) * 4096) for _ in range(20)]"
    job.plan(sys.executable, "-c", code)
    assert job.run().returncode == 0
    assert job.attempt().stdout.read_bytes() == bytes(range(256)) * 4096 * 20


def test_program_that_is_not_there_is_a_crash_that_names_it(job: Job) -> None:
    job.plan("no such program", "--flag")
    assert job.run().returncode == 127
    record = job.record()
    assert (record.failure, record.returncode) == ("crash", None)
    assert record.message == "cannot start no such program: No such file or directory"
    assert job.result().exec_time_s is None


def test_program_that_is_not_executable_is_a_crash_that_names_it(job: Job, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("text")
    job.plan(str(tmp_path / "plain"))
    assert job.run().returncode == 127
    assert job.record().message == f"cannot start {tmp_path}/plain: Permission denied"


def test_argument_that_no_program_can_take_is_named(job: Job) -> None:
    job.plan("true", "a\0b")
    assert job.run().returncode == 127
    assert job.record().message == "cannot start 'true': embedded null byte"


def test_missing_folder_is_named(job: Job, tmp_path: Path) -> None:
    job.plan("true", cwd=str(tmp_path / "absent"))
    assert job.run().returncode == 127
    assert job.record().message == f"cannot enter the folder {tmp_path}/absent: No such file or directory"


@pytest.mark.parametrize(
    ("metrics", "mode", "code", "reason"),
    [
        (None, "contract_error", 65, "benchmark_results/metrics.json is absent"),
        ("{", "contract_error", 65, "benchmark_results/metrics.json is not valid JSON"),
        ("[]", "contract_error", 65, "benchmark_results/metrics.json holds an array, not an object"),
        ('{"is_success": "yes"}', "contract_error", 65, "neither true nor false: 'yes'"),
        ('{"is_success": false}', "crash", 1, "metrics.json says is_success: false"),
        ('{"is_success": true, "loss": 1}', "requirements_not_met", 0, "loss: 1 is above max_value 0.5"),
        ('{"is_success": true, "loss": 0.25}', "success", 0, ""),
    ],
)
def test_file_contract(job: Job, metrics: str | None, mode: str, code: int, reason: str) -> None:
    argv = ("true",) if metrics is None else writes(metrics)
    job.plan(*argv, contract=True, requirements=(Requirement(metric="loss", max_value=0.5),))
    assert job.run().returncode == code
    result, record = job.result(), job.record()
    assert (result.error_mode, result.success) == (mode, mode == "success")
    assert reason in result.reason
    assert record.failure == ("" if code == 0 else mode)
    assert record.returncode == 0


WITH_TASKS = """
import json, os, pathlib, pickle
class Harm:
    def __reduce__(self):
        return os.system, ("touch harm",)
out = pathlib.Path(os.environ["OELLM_BENCH_RESULTS_PATH"])
(out / "metrics.json").write_text(json.dumps({"is_success": True}))
records = [{"stage": "read", "process_time": 1.0}, {"stage": "read", "process_time": 3.0}, Harm()]
(out / "tasks.pkl").write_bytes(%s)
"""


def test_stages_of_tasks_pkl_are_part_of_the_result_and_nothing_in_it_is_run(job: Job, tmp_path: Path) -> None:
    bound = Requirement(metric="task_read_process_time_mean", max_value=1.5)
    job.plan(
        *(sys.executable, "-c", WITH_TASKS % "pickle.dumps(records)"),
        contract=True,
        requirements=(bound,),
        cwd=str(tmp_path),
    )
    assert job.run().returncode == 0
    result = job.result()
    assert result.stages["read"]["process_time"] == {"sum": 4.0, "mean": 2.0, "std": 1.0, "count": 2}
    assert result.error_mode == "requirements_not_met" and "2" in result.reason
    assert not list(tmp_path.rglob("harm"))


def test_a_tasks_pkl_that_cannot_be_read_is_said_and_fails_nobody(job: Job) -> None:
    job.plan(sys.executable, "-c", WITH_TASKS % "b'no pickle'", contract=True)
    assert job.run().returncode == 0
    assert job.result().success and "tasks.pkl cannot be read" in job.result().reason


def test_scratch_is_fresh_and_deleted_after_a_failure(job: Job) -> None:
    job.folder.scratch.mkdir(parents=True)
    (job.folder.scratch / "old").touch()
    script = 'ls -A "$OELLM_BENCH_SCRATCH"; cd "$OELLM_BENCH_SCRATCH"; mkdir d; touch d/f; chmod 0 d; exit 1'
    job.plan("sh", "-c", script)
    assert job.run().returncode == 1
    assert job.attempt().stdout.read_text() == ""
    assert not job.folder.scratch.exists()


def test_scratch_stays_where_the_plan_says_so(job: Job) -> None:
    job.plan("sh", "-c", 'touch "$OELLM_BENCH_SCRATCH/kept"', delete_scratch=False)
    job.run()
    assert (job.folder.scratch / "kept").exists()


def test_dry_run_prints_the_command_and_changes_nothing(job: Job) -> None:
    job.plan("python", "-c", "print('it\\'s')", environment={"COLOUR": "dark blue", "MY_TOKEN": "hush"})
    before = sorted(job.session.rglob("*"))
    done = job.run("--dry-run")
    assert done.returncode == 0
    assert done.stdout.splitlines()[0] == """command: python -c 'print('"'"'it\\'"'"'s'"'"')'"""
    assert "  COLOUR='dark blue'\n" in done.stdout
    assert "hush" not in done.stdout
    assert str(job.attempt().root) in done.stdout
    assert sorted(job.session.rglob("*")) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ("--sweep", "absent.json", "--index", "0"),
        ("--sweep", "SWEEP", "--index", "7"),
        ("--sweep", "SWEEP", "--entry", "nobody"),
        ("--sweep", "SWEEP"),
        ("--sweep", "SWEEP", "--index", "x"),
        ("--sweep", "SWEEP", "--index", "0", "--attempt", "0"),
        ("--sweep", "SWEEP", "--index", "0", "--timeout-s", "nan"),
    ],
)
def test_wrong_call_is_one_line_and_exit_2(job: Job, arguments: tuple[str, ...]) -> None:
    job.plan("true")
    sweep = str(job.session / "sweep.json")
    argv = [sweep if argument == "SWEEP" else argument for argument in arguments]
    done = subprocess.run(
        [sys.executable, "-m", "oellm_bench.run_entry", *argv], capture_output=True, text=True, timeout=30
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("run_entry: ")
    assert done.stderr.count("\n") == 1


def test_folder_that_cannot_be_written_is_one_line(job: Job) -> None:
    job.plan("true")
    (job.session / "entries").write_text("a file in the way")
    done = job.run()
    assert done.returncode == 74
    assert done.stderr.count("\n") == 1
    assert "entries" in done.stderr


def test_full_disk_is_one_line_and_no_success(job: Job) -> None:
    job.plan("true")
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 0; exec "$@"', "sh", *job.command()],
        env={**os.environ, MARK: job.mark},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 74
    assert done.stderr.count("\n") == 1
    assert "File too large" in done.stderr
    assert "Traceback" not in done.stderr


def test_log_that_nobody_reads_does_not_end_the_job(job: Job) -> None:
    job.plan("sh", "-c", "exit 6")
    process = job.start()
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(timeout=30) == 6
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


def test_start_needs_only_the_standard_library() -> None:
    code = "import sys, oellm_bench.run_entry; print(*{name.split('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    foreign = {name for name in loaded - sys.stdlib_module_names if not name.startswith(("_", "oellm_bench"))}
    assert foreign <= {"sitecustomize", "usercustomize", "mypy_extensions"}
