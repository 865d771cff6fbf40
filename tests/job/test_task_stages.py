"""tasks.pkl by stage: read without making an object of any class, whatever the script put into it."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from live_job import Job


@dataclass
class StagePerf:
    """The shape of NeMo Curator's record."""

    stage_name: str
    process_time: float
    num_items_processed: int = 1
    custom_metrics: dict = field(default_factory=dict)


class Task:
    def __init__(self, *perf):
        self._stage_perf = list(perf)
        self.data = {"anything": object}


class WorkflowRunResult:
    def __init__(self, **pipelines):
        self.pipeline_tasks = pipelines


class Slotted:
    __slots__ = ("process_time", "stage_name")

    def __init__(self, stage_name, process_time):
        self.stage_name, self.process_time = stage_name, process_time


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch '{self.path}'",)


def aggregate(folder: Path, raw: bytes) -> subprocess.CompletedProcess[str]:
    (folder / "tasks.pkl").write_bytes(raw)
    return subprocess.run(
        [sys.executable, "-m", "oellm_bench.job.task_stages", folder / "tasks.pkl", folder / "tasks.json"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def stages(folder, tasks):
    done = aggregate(folder, pickle.dumps(tasks))
    assert done.returncode == 0, done.stderr
    return json.loads((folder / "tasks.json").read_text())["stages"]


def test_sum_mean_std_and_count_by_stage_and_metric(tmp_path):
    tasks = [Task(StagePerf("read", 1.0, 10, {"rows": 5}), StagePerf("hash", 4.0)), Task(StagePerf("read", 3.0, 30))]
    found = stages(tmp_path, tasks)
    assert found["read"]["process_time"] == {"sum": 4.0, "mean": 2.0, "std": 1.0, "count": 2}
    assert found["read"]["num_items_processed"]["sum"] == 40
    assert found["read"]["custom.rows"] == {"sum": 5.0, "mean": 5.0, "std": 0.0, "count": 1}
    assert found["hash"]["process_time"]["count"] == 1


def test_a_call_whose_record_many_tasks_carry_counts_once(tmp_path):
    """After a fan-out every task has the upstream record, each its own copy once it went through Ray."""
    tasks = [
        pickle.loads(pickle.dumps(Task(StagePerf("read", 1.25, 5), StagePerf("map", 0.1 * n)))) for n in range(1, 101)
    ]
    found = stages(tmp_path, tasks)
    assert (found["read"]["process_time"]["count"], found["read"]["num_items_processed"]["sum"]) == (1, 5)
    assert found["map"]["process_time"]["count"] == 100


@pytest.mark.parametrize(
    ("tasks", "stage"),
    [
        ({"p": [Task(StagePerf("read", 1.0))]}, "p.read"),
        (WorkflowRunResult(p=[Task(StagePerf("read", 1.0))]), "p.read"),
        ([{"stage": "read", "process_time": 1.0}], "read"),
        ([OrderedDict(stage_name="read", process_time=1.0)], "read"),
        ([Task(Slotted("read", 1.0))], "read"),
        ((Task(StagePerf("read", 1.0)),), "read"),
    ],
)
def test_the_forms_that_scripts_write(tmp_path, tasks, stage):
    assert stages(tmp_path, tasks)[stage]["process_time"]["sum"] == 1.0


@pytest.mark.parametrize("tasks", [[], {}, None, "text", [1, 2], [Task()], [[[]]]])
def test_nothing_to_count_is_nothing(tmp_path, tasks):
    assert stages(tmp_path, tasks) == {}


def test_values_that_are_no_finite_numbers_are_left_out(tmp_path):
    (found,) = stages(tmp_path, [Task(StagePerf("read", float("nan"), True, {"a": "x", "b": 2}))]).values()
    assert set(found) == {"custom.b"}


def test_nothing_in_a_pickle_is_run(tmp_path):
    tasks = [Task(StagePerf("read", 1.0)), Malicious(tmp_path / "harm")]
    assert stages(tmp_path, tasks)["read"]["process_time"]["count"] == 1
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "raw",
    [b"\x80\x04", b"not a pickle", b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7f", b"cos\nsystem\n(S'true'\ntR0."],
)
def test_what_cannot_be_read_is_said_and_leaves_no_file(tmp_path, raw):
    done = aggregate(tmp_path, raw)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert not (tmp_path / "tasks.json").exists()


# [{"stage": "read", "process_time": numpy.float64(1.5), "items": numpy.float32(2.0)}], written by NumPy 2.4.6.
OF_NUMPY = (
    b"\x80\x04\x95\xc8\x00\x00\x00\x00\x00\x00\x00]\x94}\x94(\x8c\x05stage\x94\x8c\x04read\x94\x8c\x0cprocess_time\x94"
    b"\x8c\x16numpy._core.multiarray\x94\x8c\x06scalar\x94\x93\x94\x8c\x05numpy\x94\x8c\x05dtype\x94\x93\x94\x8c\x02f8\x94"
    b"\x89\x88\x87\x94R\x94(K\x03\x8c\x01<\x94NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00t\x94bC\x08\x00\x00\x00\x00\x00"
    b"\x00\xf8?\x94\x86\x94R\x94\x8c\x05items\x94h\x07h\n\x8c\x02f4\x94\x89\x88\x87\x94R\x94(K\x03h\x0eNNNJ\xff\xff\xff"
    b"\xffJ\xff\xff\xff\xffK\x00t\x94bC\x04\x00\x00\x00@\x94\x86\x94R\x94ua."
)


def test_numbers_of_numpy_count(tmp_path):
    assert aggregate(tmp_path, OF_NUMPY).returncode == 0
    found = json.loads((tmp_path / "tasks.json").read_text())["stages"]["read"]
    assert (found["process_time"]["sum"], found["items"]["sum"]) == (1.5, 2.0)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_an_empty_list_needs_no_process(job: Job, protocol: int) -> None:
    written = "open(os.environ['OELLM_BENCH_RESULTS_PATH'] + '/tasks.pkl', 'wb')"
    job.plan(sys.executable, "-c", f"import os, pickle; pickle.dump([], {written}, {protocol})")
    # The process that reads tasks.pkl would begin with this, and end.
    stop = "import os, sys\nif 'oellm_bench.job.task_stages' in sys.orig_argv: os._exit(3)\n"
    (job.session / "sitecustomize.py").write_text(stop)
    assert job.run(PYTHONPATH=str(job.session)).returncode == 0
    assert job.result().reason == ""
    tasks = job.folder.benchmark_results / "tasks.json"
    assert json.loads(tasks.read_text()) == {"schema_version": 1, "stages": {}}
