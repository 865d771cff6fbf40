"""A virtual cluster in a folder of its own, and the eyes of a test on it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oellm_bench.core.job import JobId, JobState, JobStatus
from oellm_bench.schedulers.base import SubmitRequest
from oellm_bench.schedulers.embedded.fault import inject
from oellm_bench.schedulers.fake import FakeSlurmClient, FakeSlurmConfig

DEADLINE_S = 20.0


class VirtualCluster:
    """A client, its folder, and waits that end with their condition."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.queue = folder / "queue's folder"
        self.configure()

    def configure(self, **changes: Any) -> None:
        settings = {"cpus_per_node": 4, "kill_wait_s": 0.3, "requeue_delay_s": 0.05, **changes}
        self.client = FakeSlurmClient(FakeSlurmConfig(**settings), self.queue)

    def submit(self, body: str, *, name: str = "job", directives: str = "", **request: Any) -> JobId:
        script = self.folder / f"{name}.sbatch"
        script.write_text(f"#!/bin/bash\n{directives}\n{body}\n")
        return self.client.submit(SubmitRequest(name=name, script=script, **request))

    def fault(self, kind: str, **arguments: Any) -> None:
        inject(self.queue, kind, **arguments)

    def rows(self) -> dict[JobId, JobStatus]:
        return {row.job_id: row for row in self.client.snapshot("", 0).jobs}

    def row(self, job_id: JobId) -> JobStatus:
        return self.rows()[job_id]

    def wait(self, condition: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline:
            if value := condition():
                return value
            time.sleep(0.01)
        pytest.fail(f"not within {DEADLINE_S} s; jobs: {self.rows()}; log: {self.log()}")

    def wait_state(self, job_id: JobId, state: JobState, **fields: Any) -> JobStatus:
        """Wait for a state, and for fields of the row with it."""

        def seen() -> JobStatus | None:
            row = self.row(job_id)
            wanted = {"state": state, **fields}
            return row if all(getattr(row, name) == value for name, value in wanted.items()) else None

        return self.wait(seen)

    def wait_ended(self, job_id: JobId) -> JobStatus:
        return self.wait(lambda: (row := self.row(job_id)).state.is_terminal and row)

    def wait_text(self, name: str, text: str = "\n") -> str:
        path = self.folder / name
        return self.wait(lambda: path.exists() and text in (content := path.read_text()) and content)

    def is_alive(self, pid: int) -> bool:
        """Tell whether a process works; a zombie that init has not collected yet does not."""
        stat = _read(pid, "stat")
        return bool(stat) and stat[stat.rindex(b")") + 2 :][:1] != b"Z"

    def wait_gone(self, *pids: int) -> None:
        self.wait(lambda: not any(self.is_alive(pid) for pid in pids))

    def log(self) -> str:
        path = self.queue / "controller.log"
        return path.read_text() if path.exists() else ""

    def controllers(self) -> list[int]:
        return [pid for pid in self.processes() if b"\0controller\0" in _read(pid, "cmdline")]

    def supervisor(self, job_id: JobId, run: int = 0) -> int:
        claim = self.queue / "steps" / f"{job_id.job}.{run}" / "claim.json"
        return int(self.wait(lambda: claim.exists() and json.loads(claim.read_text())["pid"]))

    def kill(self, *pids: int) -> None:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.wait_gone(*pids)

    def processes(self) -> list[int]:
        """Return living processes that carry this cluster's folder in arguments or environment."""
        wanted = os.fsencode(self.folder)
        pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
        return [
            pid
            for pid in pids
            if pid != os.getpid() and (wanted in _read(pid, "cmdline") or wanted in _read(pid, "environ"))
        ]


def _read(pid: int, part: str) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{part}").read_bytes()
    return b""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualCluster]:
    folder = tmp_path / "a folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    made = VirtualCluster(folder)
    yield made
    made.wait(lambda: made.client.snapshot("", 0).queue_answered)  # an outage has to be over
    made.client.cancel(list(made.rows()))
    made.wait(lambda: not made.processes())
    assert "Traceback" not in made.log()
