"""What a simulated job leaves on disk: the very files that the runner and the command of a real one would leave."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.result import EntryResult, ErrorMode, ExitRecord
from oellm_bench.simulation.job import SimulatedJob

# The last line of stderr, as the packaged signatures know it.
_LAST_WORDS = {
    "gpu_fault": "NVRM: Xid (PCI:0000:1b:00): 79, GPU has fallen off the bus.",
    "nccl": "torch.distributed.DistBackendError: NCCL error: ncclSystemError: System call failed",
    "nan": "ERROR: found NaN in the loss, stopping",
    "crash": "RuntimeError: a failure by chance",
    "broken": "RuntimeError: the same failure at the same place",
}
# What leaves its job no time for a word.
_SUDDEN = frozenset({"node_fail", "oom", "memory", "time_limit"})


class Traces:
    """Writes into a session's folder. Nothing is waited for: no reader looks before the step is done."""

    def __init__(self, layout: SessionLayout) -> None:
        self._layout = layout
        self._folders: dict[tuple[str, int], Path] = {}

    def output(self, job: SimulatedJob, now: float, done_s: float, *, beats: bool) -> None:
        """Write a line into the log of a job that works, and with `beats` the heartbeat of any that runs."""
        if now < job.hangs_at:
            with (self._folder(job) / "stdout.log").open("a") as stream:
                stream.write(f"{done_s:.0f} s of work done\n")
        if beats:
            self.beat(job, now, done_s)

    def beat(self, job: SimulatedJob, now: float, done_s: float) -> None:
        """Write a heartbeat; the iteration is the work done, in seconds."""
        progress = {"iteration": round(done_s), "at": min(now, job.hangs_at)}
        _write(self._folder(job) / "heartbeat.json", {"attempt": job.attempt, "at": now, "progress": progress})

    def end(self, job: SimulatedJob, done_s: float) -> None:
        """Write what a job leaves that ended now."""
        assert job.started_at is not None and job.ended_at is not None
        if job.cause == "success":
            _write(self._folder(job) / "results.json", _result(job).to_document())
        else:
            self.beat(job, job.ended_at, done_s)
        words = _LAST_WORDS.get(job.cause)
        if words:
            (self._folder(job) / "stderr.log").write_text(f"{words}\n")
        if job.cause not in _SUDDEN:
            _write(self._folder(job) / "exit.json", _record(job).to_document())

    def _folder(self, job: SimulatedJob) -> Path:
        key = (job.entry.name, job.attempt)
        if key not in self._folders:
            self._folders[key] = self._layout.entry(job.entry.name).attempt(job.attempt).root
            self._folders[key].mkdir(parents=True, exist_ok=True)
        return self._folders[key]


def _record(job: SimulatedJob) -> ExitRecord:
    assert job.started_at is not None and job.ended_at is not None
    failure, message, returncode = "crash", "", 1
    if job.cause == "success":
        failure, returncode = "", 0
    elif job.cause == "timeout":
        failure, returncode = "timeout", -15
        message = f"stopped at its time limit of {job.asked.timeout_s:g} s"
    elif job.cause in ("cancelled", "preempted"):
        failure, message, returncode = "cancelled", "ended by SIGTERM", -15
    return ExitRecord(
        token=job.token,
        attempt=job.attempt,
        returncode=returncode,
        failure=failure,
        message=message,
        restarts=job.restarts,
        job_id=str(job.job_id),
        host=job.node_names,
        started_at=job.started_at,
        ended_at=job.ended_at,
    )


def _result(job: SimulatedJob) -> EntryResult:
    assert job.started_at is not None and job.ended_at is not None
    return EntryResult(
        name=job.entry.name,
        id=job.entry.id,
        attempt=job.attempt,
        success=True,
        error_mode=ErrorMode.SUCCESS.value,
        returncode=0,
        exec_time_s=job.ended_at - job.started_at,
        started_at=job.started_at,
        ended_at=job.ended_at,
        parameters=job.entry.parameters,
    )


def _write(path: Path, document: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(document))
