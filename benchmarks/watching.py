"""What does one cycle of the monitor cost when nothing has changed?"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path

from benchmarks.harness import Measurement, measurement
from oellm_bench.actions.commands import ActionRunner
from oellm_bench.book import Book
from oellm_bench.clock import ManualClock
from oellm_bench.core.events import Selected
from oellm_bench.core.job import JobId, JobState, JobStatus, Snapshot
from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.delivery import SinkDelivery
from oellm_bench.gates import CommandPool, Gates
from oellm_bench.monitor import Monitor
from oellm_bench.schedulers.base import Limits, Scheduler, SubmitRequest
from oellm_bench.session import Session
from oellm_bench.submission import Submitter
from oellm_bench.watch import watch_settings


class RunningForever(Scheduler):
    """A scheduler whose jobs all run and never end: what a monitor sees most of the time."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._jobs: list[JobStatus] = []
        self.calls = 0

    def submit(self, request: SubmitRequest) -> JobId:
        job_id = JobId(len(self._jobs) + 1)
        self._jobs.append(
            JobStatus(job_id=job_id, name=request.name, state=JobState.RUNNING, nodes="n1", started_at=1.0)
        )
        return job_id

    def snapshot(self, prefix: str, since: float, *, insist: bool = False) -> Snapshot:
        self.calls += 2
        return Snapshot(
            taken_at=self._clock.now(),
            jobs=tuple(self._jobs),
            queue_answered=True,
            accounting_answered=True,
            calls=2,
        )

    def cancel(self, job_ids: Collection[JobId]) -> None:
        raise AssertionError(f"nothing is to be cancelled here: {job_ids}")

    def limits(self) -> Limits:
        return Limits()


def measure() -> Iterator[Measurement]:
    """Yield CPU milliseconds per cycle and scheduler calls over 1,000 and 10,000 running jobs."""
    for jobs, target in ((1_000, 50.0), (10_000, 500.0)):
        samples, calls = _cycles(jobs)
        yield measurement(f"monitor cycle, {jobs:,} running jobs, quiet logs", "CPU ms", samples, target)
        yield measurement(f"scheduler calls per cycle, {jobs:,} jobs", "calls", [float(calls)], 2.0)


def _cycles(jobs: int) -> tuple[list[float], int]:
    with tempfile.TemporaryDirectory() as name:
        monitor, scheduler = _monitor(Path(name), jobs)
        monitor.step()
        monitor.step()
        samples, before = [], scheduler.calls
        for _ in range(5):
            begun = time.process_time()
            monitor.step()
            samples.append((time.process_time() - begun) * 1000)
        return samples, (scheduler.calls - before) // 5


def _monitor(folder: Path, jobs: int) -> tuple[Monitor, RunningForever]:
    entries = tuple(
        PlannedEntry(
            index=number,
            id=f"e{number:07d}",
            name=f"e{number}",
            parameters={},
            argv=("true",),
            timeout_s=3600,
            script="scripts/x.sbatch",
        )
        for number in range(jobs)
    )
    signal = {"name": "saved", "pattern": "Checkpoint saved: (?P<path>.+)"}
    settings = {"monitoring": {"log_signals": [signal]}, "restart": {}}
    plan = Plan(project="p", fingerprint="f", entries=entries, watch=(settings,))
    clock = ManualClock()
    session = Session(
        id="p_1",
        session8="00000000",
        project="p",
        fingerprint="f",
        session_dir=str(folder / "p_1"),
        state_dir=str(folder / "state"),
        created_at=clock.now(),
        created="",
        entries=jobs,
        scheduler={},
        sinks={},
        max_parallel=None,
        versions={},
        git={},
        command_line=(),
    )
    store, scheduler = session.store(), RunningForever(clock)
    with store.locked():
        store.append(Selected(at=clock.now(), entries=tuple(entry.id for entry in entries)))
    submitter = Submitter(
        book=Book(session8=session.session8, plan=plan, layout=session.layout),
        store=store,
        scheduler=scheduler,
        clock=clock,
    )
    submitter.submit_due()
    for entry in entries:
        (session.layout.entry(entry.name).attempt(1).root / "stdout.log").write_text("step 1\n")
    monitor = Monitor(
        session=session,
        plan=plan,
        store=store,
        scheduler=scheduler,
        submitter=submitter,
        settings=(watched := (watch_settings(settings, {}),)),
        gates=Gates(plan, session.layout, watched, CommandPool()),
        actions=ActionRunner(folder / "actions", timeout_s=1, attempts=1, environment={}),
        delivery=SinkDelivery({}, session.id, {}),
        clock=clock,
    )
    return monitor, scheduler
