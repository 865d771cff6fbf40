"""MLflow: a real server behind a proxy that makes it as bad as it can be, and a store in a file."""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from tests.sinks.conftest import result_of
from tests.waiting import wait_until

pytestmark = pytest.mark.xdist_group("mlflow")
_NUMBER = itertools.count()
METRICS = {
    "loss": 0.5,
    "is_success": True,
    "deep": {"er": {"x": 2}},
    "short": [1, 2],
    "long": list(range(100)),
    "bad": "nan",
    "text": "\x1b[31mred",
    "odd name [%]": 3,
    "../up": 4,
    "huge": 10**400,
    "n" * 600: 5,
    "": 6,
    "half \ud800": 7,
    "half": "\udfff",
}


@pytest.fixture
def experiment() -> str:
    return f"experiment-{os.getpid()}-{next(_NUMBER)}"


@pytest.fixture
def sink(worker, proxy, experiment):
    """Return what makes a worker whose MLflow sink speaks to the server through the proxy."""

    def make(**config):
        return worker(
            {"class_name": "MlflowSink", "tracking_uri": proxy.url, "experiment": experiment, **config}, timeout_s=30
        )

    return make


def test_a_run_per_entry_below_the_sessions_with_all_that_is_known(sink, mlflow_server, experiment, session_data):
    result = result_of(
        session_data,
        metrics=METRICS,
        params={"bs": 8},
        stages={"read": {"process_time": {"mean": 0.25}}},
        resources={"cpu_s": 1.25},
    )
    process = sink()
    assert process.call("result", result).error == ""
    assert process.call("end", {}).error == ""
    parent, run = (mlflow_server.run(experiment, name) for name in ("s_1", "entry"))
    assert (parent["status"], run["status"]) == ("FINISHED", "FINISHED")
    assert (run["start_time"], run["end_time"]) == (1_700_000_010_000, 1_700_000_020_000)
    tags = run["tags"]
    assert tags["mlflow.parentRunId"] == parent["run_id"]
    assert tags["git.commit"] == "c0ffee"
    assert (tags["oellm_bench.nodes"], tags["oellm_bench.host"], tags["oellm_bench.job_id"]) == ("n1", "login1", "7")
    assert (tags["oellm_bench.cluster"], tags["oellm_bench.partition"]) == ("big", "gpu")
    assert (tags["oellm_bench.session"], tags["oellm_bench.attempt"]) == ("s_1", "1")
    assert tags["oellm_bench.run_reason"] == "nightly"
    assert run["params"] == {"lr": "0.1", "script.bs": "8"}
    figures = run["metrics"]
    expected = {"loss": 0.5, "is_success": 1, "deep.er.x": 2, "short.0": 1, "exec_time_s": 1.5, "attempts": 1}
    assert expected.items() <= figures.items()
    assert figures["stages.read.process_time.mean"] == 0.25
    assert figures["resources.cpu_s"] == 1.25
    assert sorted(value for name, value in figures.items() if name not in expected)[-5:] == [3, 4, 5, 6, 7]
    assert (tags["metric.bad"], tags["metric.long"]) == ("nan", "100 values")
    assert "metric.huge" in tags
    assert tags["metric.half"] == "\\udfff"
    assert mlflow_server.artifacts(run["run_id"]) == {"results.json", "stdout.log", "sys-env.json"}


def test_every_call_may_come_twice(sink, mlflow_server, experiment, session_data):
    results = [result_of(session_data, metrics={"loss": 0.5}), result_of(session_data, metrics={"loss": 0.25})]
    results[1]["parameters"] = {"lr": 0.2, "new": 1}
    notice = {"key": "end:x:1", "message": "attempt 1 ended: oom", "at": 1.0, "entry": "entry", "kind": "restart"}
    for process in (sink(), sink()):
        assert process.call("notice", notice).error == ""
        assert process.call("result", results[0]).error == ""
        assert process.call("result", results[0]).error == ""
        process.end()
    run = mlflow_server.run(experiment, "entry")
    assert set(mlflow_server.runs(experiment)) == {"s_1", "entry"}
    assert [point["value"] for point in mlflow_server.history(run["run_id"], "loss")] == [0.5]
    assert "attempt 1 ended: oom" in run["tags"].values()
    assert sink().call("result", results[1]).error == ""  # a param that has changed is no failure
    run = mlflow_server.run(experiment, "entry")
    assert (run["params"], run["tags"]["param.lr"]) == ({"lr": "0.1", "new": "1"}, "0.2")


@pytest.mark.parametrize("mode", [429, 500, "reset", "hang"])
def test_a_server_in_trouble_is_an_error_and_once_it_is_well_each_run_is_there_once(
    sink, proxy, mlflow_server, experiment, session_data, mode
):
    process = sink()
    result = result_of(session_data, metrics={"loss": 0.5})
    assert process.call("notice", {"key": "k", "message": "m", "at": 1.0}).error == ""
    proxy.mode = mode
    process.timeout_s = 3.0
    error = process.call("result", result).error
    assert {429: "429", 500: "500", "reset": "onnection", "hang": "no answer within 3 s"}[mode] in error
    proxy.let_go.set()
    proxy.mode, process.timeout_s = "pass", 60.0
    assert process.call("result", result).error == ""
    assert {name: len(runs) for name, runs in mlflow_server.runs(experiment).items()} == {"s_1": 1, "entry": 1}
    assert mlflow_server.run(experiment, "entry")["status"] == "FINISHED"


def test_a_server_that_is_not_there_yet_is_waited_for(worker, mlflow_server, experiment, session_data):
    from tests.sinks.services import Proxy

    late = Proxy(mlflow_server.port)
    process = worker({"class_name": "MlflowSink", "tracking_uri": late.url, "experiment": experiment}, timeout_s=30)
    error = process.call("result", result_of(session_data)).error
    assert error == f"MLflow at 127.0.0.1:{late.port}: ConnectionRefusedError: [Errno 111] Connection refused"
    with late.open():
        assert process.call("result", result_of(session_data)).error == ""
    assert set(mlflow_server.runs(experiment)) == {"s_1", "entry"}


@pytest.mark.parametrize("path", ["runs/create", "runs/log-batch", "runs/update"])
def test_an_answer_that_is_lost_makes_no_second_run(sink, proxy, mlflow_server, experiment, session_data, path):
    process = sink()
    assert process.call("notice", {"key": "k", "message": "m", "at": 1.0}).error == ""
    proxy.mode, proxy.only = "lose", path
    process.timeout_s = 60.0
    errors: list[str] = []
    thread = threading.Thread(target=lambda: errors.append(process.call("result", result_of(session_data)).error))
    thread.start()
    assert proxy.held.wait(60)  # the server has done it, and nobody knows
    os.killpg(process._process.pid, signal.SIGKILL)
    thread.join()
    assert "SIGKILL" in errors[0]
    proxy.let_go.set()
    proxy.mode = "pass"
    assert process.call("result", result_of(session_data)).error == ""
    assert {name: len(runs) for name, runs in mlflow_server.runs(experiment).items()} == {"s_1": 1, "entry": 1}


def test_a_monitor_killed_between_call_and_answer_leaves_one_run_each(campaign, proxy, mlflow_server, experiment):
    campaign.write(
        backend={"class_name": "CommandBackend", "command": "echo {n}"},
        sweep={"axes": {"n": [1, 2]}, "name_template": "n{n}"},
        sinks={"ml": {"class_name": "MlflowSink", "tracking_uri": proxy.url, "experiment": experiment}},
    )
    proxy.mode, proxy.only = "lose", "runs/update"
    assert campaign.run("submit").returncode == 0
    with campaign.start("monitor") as first:
        assert proxy.held.wait(90)
        children = psutil.Process(first.pid).children(recursive=True)
        first.kill()
    psutil.wait_procs(children, timeout=30)
    assert [child for child in children if child.is_running()] == []  # its worker ends with it
    proxy.let_go.set()
    proxy.mode = "pass"
    done = campaign.run("monitor")
    assert done.returncode == 0, done.stderr
    runs = mlflow_server.runs(experiment)
    assert {name: len(found) for name, found in runs.items()} == {campaign.session_dir.name: 1, "n1": 1, "n2": 1}
    assert {found[0]["info"]["status"] for found in runs.values()} == {"FINISHED"}


def test_the_store_in_a_file_is_made_once_by_sessions_that_begin_together(worker, session_data):
    sinks = [worker({"class_name": "MlflowSink"}, id=f"s_{n}", session8=f"{n:08x}") for n in range(3)]
    errors: list[str] = []
    threads = [
        threading.Thread(target=lambda sink=sink: errors.append(sink.call("result", result_of(session_data)).error))
        for sink in sinks
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == ["", "", ""]
    base = Path(session_data["session_dir"]).parent
    store = sqlite3.connect(base / "mlflow.db")
    names = sorted(name for (name,) in store.execute("SELECT name FROM runs"))
    experiments = [row for (row,) in store.execute("SELECT name FROM experiments WHERE experiment_id != 0")]
    store.close()
    assert names == ["entry", "entry", "entry", "s_0", "s_1", "s_2"]
    assert experiments == ["my project"]
    assert len([*(base / "mlflow-artifacts").glob("*/artifacts/results.json")]) == 3


def test_an_answer_that_is_no_answer_makes_no_second_run(sink, proxy, mlflow_server, experiment, session_data):
    process = sink()
    assert process.call("notice", {"key": "k", "message": "m", "at": 1.0}).error == ""
    proxy.mode, proxy.only = "503 when done", "runs/create"
    assert "503" in process.call("result", result_of(session_data)).error
    proxy.mode = "pass"
    assert process.call("result", result_of(session_data)).error == ""
    assert {name: len(runs) for name, runs in mlflow_server.runs(experiment).items()} == {"s_1": 1, "entry": 1}


def test_the_sessions_run_counts_how_its_entries_ended(sink, mlflow_server, experiment, session_data):
    crash = {"success": False, "error_mode": "crash", "reason": "exit code 1"}
    process = sink(artifacts=False)
    known = result_of(session_data, "known", **crash, expected_failure="a bug that is known")
    for result in (
        result_of(session_data, "good"),
        result_of(session_data, "bad", **crash),
        known,
        result_of(session_data, "mended", expected_failure="a bug that was known"),
    ):
        assert process.call("result", result).error == ""
    assert process.call("end", {}).error == ""
    assert process.call("end", {}).error == ""
    parent = mlflow_server.run(experiment, "s_1")
    assert parent["metrics"] == {"passed": 2, "failed": 2, "as_expected": 2}
    assert len(mlflow_server.history(parent["run_id"], "failed")) == 1
    expected = {
        name: mlflow_server.run(experiment, name)["tags"]["oellm_bench.as_expected"] for name in ("bad", "known")
    }
    assert expected == {"bad": "false", "known": "true"}


def test_a_worker_killed_while_the_store_is_made_leaves_none_that_is_half_made(worker, session_data):
    base = Path(session_data["session_dir"]).parent
    request = json.dumps({"kind": "begin", **worker({"class_name": "MlflowSink"}).head}) + "\n"
    argv = [sys.executable, "-P", "-m", "oellm_bench.sink_worker"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as killed:
        killed.stdin.write(request.encode())
        killed.stdin.flush()
        try:
            wait_until(lambda: any("spans" in _tables(path) for path in base.glob("*mlflow.db*")), 60)
        finally:
            killed.kill()
    process = worker({"class_name": "MlflowSink"})
    assert process.call("notice", {"key": "k", "message": "m", "at": 1.0}).error == ""
    assert [path.name for path in base.glob(".mlflow.db*")] == []


def _tables(path: Path) -> set[str]:
    try:
        with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=0.1)) as store:
            return {name for (name,) in store.execute("SELECT name FROM sqlite_master")}
    except sqlite3.Error:
        return set()


def test_user_and_password_of_a_uri_reach_the_server_and_nobody_else(
    worker, proxy, mlflow_server, experiment, session_data, monkeypatch
):
    monkeypatch.setenv("MLFLOW_URI", f"http://me:hunter%402@127.0.0.1:{proxy.port}")
    config = {"class_name": "MlflowSink", "tracking_uri_env": "MLFLOW_URI", "experiment": experiment}
    process = worker(config, timeout_s=30)
    proxy.mode = 500
    error = process.call("result", result_of(session_data)).error
    assert "500" in error and f"MLflow at 127.0.0.1:{proxy.port}" in error
    proxy.mode = "pass"
    assert process.call("result", result_of(session_data)).error == ""
    assert {*proxy.authorized} == {"Basic " + base64.b64encode(b"me:hunter@2").decode()}
    told = error + process.log.read_text() + json.dumps(mlflow_server.run(experiment, "entry"))
    assert not any(word in told for word in ("hunter@2", "hunter%402"))
