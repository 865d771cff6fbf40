"""What does one cycle of the monitor cost when nothing has changed?"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

from benchmarks.harness import REPEATS, Measurement, measurement
from oellm_bench.assemble import put_together
from oellm_bench.book import Book
from oellm_bench.builtins import load_all
from oellm_bench.clock import ManualClock
from oellm_bench.core.events import Decided, Ended, Event, Intended, LogRead, Observed, Selected, Submitted
from oellm_bench.core.job import JobId, JobState, JobStatus, Snapshot
from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.monitor import Monitor
from oellm_bench.monitoring.log_tail import Cursor, read_new
from oellm_bench.monitoring.settings import LogSignal
from oellm_bench.monitoring.signals import Scanner
from oellm_bench.schedulers.base import Limits, Scheduler, SubmitRequest
from oellm_bench.session import Session
from oellm_bench.state.fold import apply
from oellm_bench.state.journal import Journal
from oellm_bench.state.model import SessionState
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
    """Yield what cycles cost over 1,000 and 10,000 running jobs, a journal's replay, a scan, and an action's delay."""
    load_all()
    for jobs, target in ((1_000, 50.0), (10_000, 500.0)):
        samples, calls = _cycles(jobs)
        yield measurement(f"monitor cycle, {jobs:,} running jobs, quiet logs", "CPU ms", samples, target)
        yield measurement(f"scheduler calls per cycle, {jobs:,} jobs", "calls", [float(calls)], 2.0)
    yield measurement("monitor's memory, 10,000 running jobs", "MB", [_peak_mb(10_000)], 200.0)
    yield measurement("journal replay, 100,000 events", "CPU s", _replays(12_500), 2.0)
    yield measurement("scan of new log lines, one pattern that begins with text", "s per 100 MB", _scans(), 1.0)
    yield measurement("from the log line to its action begun, in polls", "polls", _delays(), 1.0)


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


def _peak_mb(jobs: int) -> float:
    """Return the peak memory of a process of its own that watches so many jobs, in MB."""
    code = f"from benchmarks.watching import watch_for_memory; watch_for_memory({jobs})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return float(done.stdout)


def watch_for_memory(jobs: int) -> None:
    """Watch for five cycles, one of them after every log grew, and print this process's peak memory in MB."""
    load_all()
    with tempfile.TemporaryDirectory() as name:
        monitor, _ = _monitor(Path(name), jobs)
        for number in range(5):
            monitor.step()
            if number == 2:
                for path in Path(name).glob("p_1/entries/*/attempts/1/stdout.log"):
                    path.write_text("step 1\nCheckpoint saved: x.pt\n")
    sys.stdout.write(f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}\n")


def _replays(entries: int) -> list[float]:
    """Return the CPU seconds of reading a journal of 8 events per entry into a state."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "journal.jsonl"
        Journal(path).append(list(_history(entries)))
        samples = []
        for _ in range(REPEATS):
            begun, state = time.process_time(), SessionState()
            for event in Journal(path).read_new():
                apply(event, state)
            samples.append(time.process_time() - begun)
    return samples


def _history(entries: int) -> Iterator[Event]:
    names = tuple(f"e{number:07d}" for number in range(entries))
    cursor = {"device": 1, "inode": 2, "offset": 30, "head": "0" * 16, "head_bytes": 30, "tail": "0" * 16}
    yield Selected(at=0.0, entries=names)
    for number, name in enumerate(names):
        token, job = f"ob-00000000-{name}-a1", str(number)
        yield Intended(at=1.0, token=token, entries=(name,), attempt=1, timeout_s=60.0)
        yield Submitted(at=1.0, token=token, job_id=job)
        for state in ("PENDING", "RUNNING", "COMPLETED"):
            yield Observed(at=2.0, entry=name, attempt=1, state=state, job_id=job, nodes="n1", started_at=2.0)
        yield LogRead(at=3.0, entry=name, attempt=1, stream="stdout", cursor=cursor)
        yield Ended(at=4.0, entry=name, attempt=1, mode="success", reason="")
        yield Decided(at=5.0, entry=name, attempt=1, restart=False, reason="succeeded")


def _scans() -> list[float]:
    """Return the CPU seconds of following a log that has grown by 100 MB, with one signal in a thousand lines."""
    scanner = Scanner([LogSignal(name="saved", pattern="Checkpoint saved: (?P<path>.+)")])
    lines = b"iteration 100/ 1000 | lm loss: 2.71 | grad norm: 0.31\n" * 10_000 + b"Checkpoint saved: x\n"
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "stdout.log"
        path.write_bytes(lines * (100_000_000 // len(lines)))
        samples = []
        for _ in range(REPEATS):
            begun, cursor, counts = time.process_time(), Cursor(), Counter[str]()
            while chunk := read_new(path, cursor):
                for seen in scanner.scan(chunk, "stdout", counts):
                    counts[seen.name] += 1
                cursor = chunk.cursor
            samples.append(time.process_time() - begun)
    return samples


def _delays() -> list[float]:
    """Return how many looks pass from a line in the log of one of 100 jobs until its action has begun."""
    with tempfile.TemporaryDirectory() as name:
        monitor, _ = _monitor(Path(name), 100, action=["touch", str(Path(name) / "{path}")])
        monitor.step()
        monitor.step()
        samples = []
        for number in range(REPEATS):
            log = Path(name) / "p_1" / "entries" / f"e{number}" / "attempts" / "1" / "stdout.log"
            with log.open("a") as stream:
                stream.write(f"Checkpoint saved: done{number}\n")
            looks = 0
            while not any(f"e{number:07d}-" in path.name for path in Path(name).glob("p_1/actions/*")):
                monitor.step()
                looks += 1
            samples.append(float(looks))
        while not monitor.actions.idle(monitor.store.state):
            monitor.step()
    return samples


def _monitor(folder: Path, jobs: int, action: list[str] | None = None) -> tuple[Monitor, RunningForever]:
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
    signal = {"name": "saved", "pattern": "Checkpoint saved: (?P<path>.+)", "action": "react" if action else ""}
    settings = {"monitoring": {"log_signals": [signal], "actions": {"react": action or ["true"]}}, "restart": {}}
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
        scheduler={"class_name": ""},
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
        files = session.layout.entry(entry.name).attempt(1)
        files.stdout.write_text("step 1\n")
        files.stderr.touch()
    monitor = put_together(session, plan, submitter, (watch_settings(settings, {}),))
    return monitor, scheduler
