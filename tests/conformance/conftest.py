"""The implementations that the scheduler suite runs against, and how a test uses one."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from oellm_bench.core.job import JobId, JobState, JobStatus
from oellm_bench.schedulers.base import Scheduler, SubmitRequest
from oellm_bench.schedulers.fake import FakeSlurmClient, FakeSlurmConfig
from oellm_bench.schedulers.slurm import SlurmClient, SlurmConfig


class Bench:
    """One implementation under test. Every wait ends with its condition, at the latest at `deadline_s`."""

    def __init__(
        self,
        make: Callable[[], Scheduler],
        folder: Path,
        *,
        deadline_s: float,
        short_limit: str,
        hurry: Callable[[JobId], object] = lambda job_id: None,
    ):
        self.make = make
        self.scheduler = make()
        self.folder = folder
        self.deadline_s = deadline_s
        self.short_limit = short_limit
        self.hurry = hurry
        self.prefix = f"ob-{os.getpid()}-{time.time_ns()}-"
        self.submitted: list[JobId] = []

    def submit(self, body: str, *, name: str = "job", directives: str = "", **request: Any) -> JobId:
        script = self.folder / f"{name}.sbatch"
        script.write_text(f"#!/bin/bash\n{directives}\n{body}\n")
        job_id = self.scheduler.submit(SubmitRequest(name=self.prefix + name, script=script, **request))
        self.submitted.append(job_id)
        return job_id

    def rows(self, scheduler: Scheduler | None = None) -> dict[JobId, JobStatus]:
        return {row.job_id: row for row in (scheduler or self.scheduler).snapshot(self.prefix, 0).jobs}

    def wait(self, condition: Callable[[], Any]) -> Any:
        """Return the first true value of `condition`."""
        deadline = time.monotonic() + self.deadline_s
        while time.monotonic() < deadline:
            if value := condition():
                return value
            time.sleep(0.02)
        pytest.fail(f"not within {self.deadline_s} s; jobs: {self.rows()}")

    def wait_state(self, job_id: JobId, state: JobState) -> JobStatus:
        return self.wait(lambda: (row := self.rows().get(job_id)) and row.state is state and row)

    def wait_ended(self, job_id: JobId) -> JobStatus:
        return self.wait(lambda: (row := self.rows().get(job_id)) and row.state.is_terminal and row)

    def wait_text(self, file: str, text: str) -> str:
        path = self.folder / file
        return self.wait(lambda: path.exists() and text in (content := path.read_text()) and content)

    def processes(self) -> list[int]:
        """Return living processes that carry this test's folder in arguments or environment."""
        wanted = os.fsencode(self.folder)
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and int(entry.name) != os.getpid():
                with contextlib.suppress(OSError):
                    if any(wanted in (entry / part).read_bytes() for part in ("cmdline", "environ")):
                        found.append(int(entry.name))
        return found


def _fake(folder: Path) -> Bench:
    config = FakeSlurmConfig(nodes=2, cpus_per_node=4, kill_wait_s=0.3)
    return Bench(lambda: FakeSlurmClient(config, folder / "queue"), folder, deadline_s=40, short_limit="0:01")


def _slurm(folder: Path) -> Bench:
    config = SlurmConfig(calls_per_s=50.0, call_burst=100)
    # Limits are checked every 30 s, and what ignores TERM gets KILL seconds later.
    return Bench(
        lambda: SlurmClient(config, folder / "calls"),
        folder,
        deadline_s=120,
        short_limit="0:01",
        hurry=_end_time_is_now,
    )


def _end_time_is_now(job_id: JobId) -> None:
    """Have SLURM find a running job over its limit at once; a limit of seconds counts as a whole minute."""
    subprocess.run(["scontrol", "update", f"JobId={job_id}", "EndTime=now"], check=True, timeout=60)


SLURM = pytest.param("slurm", id="slurm", marks=[pytest.mark.slurm, pytest.mark.xdist_group("slurm")])


@pytest.fixture(params=[pytest.param("fake", id="fake"), SLURM])
def bench(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    folder = tmp_path / "it's a folder"
    folder.mkdir()
    monkeypatch.chdir(folder)
    if request.param == "slurm":
        for name, value in request.getfixturevalue("slurm_cluster").environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("SBATCH_PARTITION", "long")
    made = _slurm(folder) if request.param == "slurm" else _fake(folder)
    yield made
    made.scheduler.cancel(made.submitted)
    made.wait(lambda: not made.processes())
