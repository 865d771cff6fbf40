"""Services that all tests share, worker processes, and packages of somebody else's."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from oellm_bench.sink_process import SinkProcess
from tests.sinks.services import MlflowServer, Proxy
from tests.system.conftest import campaign

__all__ = ["campaign"]


@pytest.fixture
def proxy(mlflow_server: MlflowServer) -> Iterator[Proxy]:
    with Proxy(mlflow_server.port).open() as subject:
        yield subject


@pytest.fixture
def packaged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return what installs a module with sinks for the processes that a test starts, by entry points alone."""

    def install(source: str, **sinks: str) -> Path:
        site = tmp_path / "it's site"
        metadata = site / "their_sinks-1.0.dist-info"
        metadata.mkdir(parents=True)
        (site / "their_sinks.py").write_text(source)
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: their-sinks\nVersion: 1.0\n")
        points = "".join(f"{name} = their_sinks:{kind}\n" for name, kind in sinks.items())
        (metadata / "entry_points.txt").write_text(f"[oellm_bench.sinks]\n{points}")
        monkeypatch.setenv("PYTHONPATH", str(site))
        return site

    return install


@pytest.fixture
def session_data(tmp_path: Path) -> Mapping[str, Any]:
    folder = tmp_path / "it's out" / "s_1"
    folder.mkdir(parents=True)
    return {
        "id": "s_1",
        "session8": "0123abcd",
        "project": "my project",
        "session_dir": str(folder),
        "created_at": 1_700_000_000.0,
        "run_reason": "nightly",
        "viewer_url": "",
        "git": {"commit": "c0ffee"},
        "versions": {"oellm_bench": "1"},
        "environment": {"host": "login1", "user": "me"},
        "sink_name": "mine",
    }


@pytest.fixture
def worker(session_data: Mapping[str, Any]) -> Iterator[Callable[..., SinkProcess]]:
    """Return what makes a sink's process; all of them end with the test."""
    made: list[SinkProcess] = []

    def make(sink: Mapping[str, Any], timeout_s: float = 60.0, **session: Any) -> SinkProcess:
        folder = Path(session_data["session_dir"]) / "sinks"
        environment = {**session_data, **session}
        head = {
            "name": "mine",
            "sink": sink,
            "session_name": environment["id"],
            "environment": environment,
            "lock": str(folder / f"{len(made)}.lock"),
        }
        made.append(SinkProcess(name="mine", head=head, log=folder / "mine.log", timeout_s=timeout_s))
        return made[-1]

    yield make
    for process in made:
        process.kill()
        process.end()


def result_of(session: Mapping[str, Any], name: str = "entry", **values: Any) -> dict[str, Any]:
    """Return a result as the delivery hands it over; its files lie in the session's folder."""
    folder = Path(session["session_dir"]) / "entries" / name
    attempt = folder / "attempts" / "1"
    attempt.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text("{}")
    (folder / "artifacts").mkdir(exist_ok=True)
    slurm = {"SLURM_CLUSTER_NAME": "big", "SLURM_JOB_PARTITION": "gpu"}
    (folder / "artifacts" / "sys-env.json").write_text(json.dumps({"slurm": slurm}))
    (attempt / "stdout.log").write_text("first\nlast\n")
    return {
        "name": name,
        "id": f"id of {name}",
        "attempt": 1,
        "success": True,
        "error_mode": "success",
        "reason": "",
        "exec_time_s": 1.5,
        "started_at": 1_700_000_010.0,
        "ended_at": 1_700_000_020.0,
        "parameters": {"lr": 0.1},
        "params": {},
        "metrics": {},
        "stages": {},
        "resources": {},
        "requirements_not_met": [],
        "group": name,
        "entry_dir": str(folder),
        "attempts": [{"number": 1, "job_id": "7", "nodes": "n1", "error_mode": "success", "reason": ""}],
        "stdouterr_file": str(attempt / "stdout.log"),
        **values,
    }
