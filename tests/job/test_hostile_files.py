"""Scripts that put something else where the runner has its files."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from live_job import MARK, Job, wait_for

Hostile = Callable[[str], subprocess.CompletedProcess[str]]

# Nothing is split or globbed in what follows, so that it can be read without its quotes.
PROLOGUE = """set -f; IFS=
R=$OELLM_BENCH_RESULTS_PATH E=$OELLM_BENCH_ENTRY_DIR A=$E/attempts/1 S=$OELLM_BENCH_SCRATCH P=$1
good() { printf '{"is_success": true, "files": 7}' > $R/metrics.json; }
"""


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """Return a file outside of the session that nobody may touch."""
    path = tmp_path / "precious" / "file"
    path.parent.mkdir()
    path.write_text("precious")
    return path


@pytest.fixture
def hostile(job: Job, precious: Path) -> Hostile:
    """Run lines of shell as an entry under the file contract, with the permissions of a plain user."""
    # To root no folder is closed.
    plain = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
    if plain and not shutil.which("setpriv"):
        pytest.skip("root needs setpriv to act as a plain user does")

    def run(lines: str) -> subprocess.CompletedProcess[str]:
        job.plan("sh", "-c", PROLOGUE + lines, "sh", str(precious), contract=True)
        done = subprocess.run(
            [*plain, *job.command()],
            env={**os.environ, MARK: job.mark},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert "Traceback" not in done.stderr
        assert [path.name for path in precious.parent.iterdir()] == ["file"]
        assert precious.read_text() == "precious"
        return done

    return run


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("exit 0", "is absent"),
        ("ln -s nowhere $R/metrics.json", "is absent"),
        ("good; rm -r $R", "is absent"),
        ("good; rm -r $R; echo > $R", "is absent"),
        ("good; rm -r $E", "is absent"),
        ("good; rm -r $OELLM_BENCH_SESSION_DIR", "is absent"),
        ("rmdir $R; ln -s ${P%/*} $R", "is absent"),
        ("mkdir $R/metrics.json", "cannot be read (it is a folder, not a file)"),
        ("mkfifo $R/metrics.json", "cannot be read (it is a FIFO, not a file)"),
        ("ln -s /dev/zero $R/metrics.json", "cannot be read (it is a device, not a file)"),
        ("ln -s metrics.json $R/metrics.json", "cannot be read (Too many levels of symbolic links)"),
        ("ln -s $P $R/metrics.json", "is not valid JSON"),
        ("good; chmod 000 $R/metrics.json", "cannot be read (Permission denied)"),
        ("truncate -s 1G $R/metrics.json", "is too large (1073741824 bytes, at most 8388608)"),
    ],
)
def test_what_is_no_metrics_breaks_the_contract_and_is_named(
    job: Job, hostile: Hostile, lines: str, reason: str
) -> None:
    assert hostile(lines).returncode == 65
    result, record = job.result(), job.record()
    assert (result.error_mode, record.failure, record.returncode) == ("contract_error", "contract_error", 0)
    assert f"exit code 0, but benchmark_results/metrics.json {reason}" in result.reason
    assert record.message == result.reason


@pytest.mark.parametrize(
    "lines",
    [
        "rm -r $A",
        "rm $A/stdout.log; ln -s $P $A/stdout.log",
        "rm $A/stderr.log; mkfifo $A/stderr.log",
        "ln -s $P $E/results.json; ln -s $P $A/results.json; ln -s $P $A/exit.json",
        "mkfifo $E/results.json $A/results.json $A/exit.json",
        """echo '{"token": "", "attempt": 1, "returncode": 3}' | tee $A/exit.json > $A/results.json""",
        "rmdir $S; ln -s ${P%/*} $S",
        "rmdir $S; echo > $S",
        "ln -s $P $S/x; mkdir $S/d; ln -s ${P%/*} $S/d/y; chmod 000 $S/d $S",
        "mkfifo $R/tasks.pkl",
        "ln -s /dev/zero $R/tasks.pkl",
    ],
)
def test_a_success_stays_one_whatever_lies_about(job: Job, hostile: Hostile, lines: str) -> None:
    assert hostile(f"good; {lines}").returncode == 0
    assert (job.record().returncode, job.record().failure) == (0, "")
    assert (job.result().error_mode, job.result().metrics["files"]) == ("success", 7)
    assert not job.attempt().exit.is_symlink() and not job.folder.results.is_symlink()


@pytest.mark.parametrize("name", ["tasks.json", "tasks.json.part"])
def test_tasks_json_is_not_written_through_a_link(job: Job, hostile: Hostile, precious: Path, name: str) -> None:
    tasks = precious.parent.parent / "tasks.pkl"
    tasks.write_bytes(pickle.dumps([{"stage": "read", "process_time": 1.0}]))
    assert hostile(f"good; cp {tasks} $R/tasks.pkl; ln -s $P $R/{name}").returncode == 0
    assert job.result().stages["read"]["process_time"]["count"] == 1


CYCLE: list[object] = []
CYCLE.append(CYCLE)


@pytest.mark.parametrize(
    "bomb",
    [pickle.dumps(CYCLE), b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".", b"\x80\x04K\x01r\xff\xff\xff\x7f."],
    ids=["cycle", "depth", "memory"],
)
def test_a_pickle_bomb_is_left_out_and_said(job: Job, hostile: Hostile, tmp_path: Path, bomb: bytes) -> None:
    (tmp_path / "bomb").write_bytes(bomb)
    assert hostile(f"good; cp {tmp_path}/bomb $R/tasks.pkl").returncode == 0
    result = job.result()
    assert result.success and result.stages == {}
    assert "tasks.pkl cannot be read" in result.reason and result.reason.endswith("left out")


def test_results_that_a_script_has_closed_are_read_all_the_same(job: Job, hostile: Hostile) -> None:
    assert hostile("good; chmod 000 $R $A; chmod 000 $E/attempts; chmod 000 $E").returncode == 0
    assert (job.record().returncode, job.result().error_mode) == (0, "success")


@pytest.mark.parametrize(
    "lines",
    [
        "rm -r $R; echo > $R",
        "rmdir $R; ln -s nowhere $R",
        "chmod 000 $R",
        "chmod 000 $A",
        "chmod 000 $E/attempts",
        "chmod 000 $E",
        "rm -r $S; mkdir $E/results.json",
        "rm -r $E; echo > $E",
    ],
)
def test_the_next_attempt_runs_whatever_an_earlier_one_left(job: Job, hostile: Hostile, lines: str) -> None:
    hostile(lines)
    assert hostile("good").returncode == 0
    assert job.result().success


@pytest.mark.parametrize("name", ["$A/exit.json", "$A/results.json", "$E/results.json"])
def test_a_folder_in_place_of_a_record_is_put_aside(job: Job, hostile: Hostile, name: str) -> None:
    assert hostile(f"good; mkdir -p {name}/x").returncode == 0
    assert (job.record().returncode, job.result().error_mode) == (0, "success")


def test_a_cancel_ends_a_script_that_has_closed_the_attempts_folder(job: Job, hostile: Hostile) -> None:
    assert hostile("chmod 000 $A; kill -TERM $PPID; sleep 60").returncode == 143
    assert job.processes() == [] and job.record().failure == "cancelled"


def test_a_result_that_arrives_just_after_the_end_is_waited_for(job: Job) -> None:
    job.plan("sh", "-c", """printf '{"is_succ' > "$OELLM_BENCH_RESULTS_PATH/metrics.json" """, contract=True)
    process = job.start()
    metrics = job.folder.benchmark_results / "metrics.json"
    wait_for(lambda: metrics.exists() and metrics.stat().st_size, "half a file")
    late = threading.Timer(0.5, metrics.write_text, ('{"is_success": true, "files": 7}',))
    late.start()
    process.communicate(timeout=30)
    late.join()
    assert (process.returncode, job.result().metrics.get("files")) == (0, 7)
