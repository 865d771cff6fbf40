"""`monitor --as-job`: the monitor as a small job of its own, which requeues itself before its time limit."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from submitit.core.utils import DelayedSubmission, FailedJobError
from submitit.slurm.slurm import SlurmExecutor

from oellm_bench.assemble import open_scheduler
from oellm_bench.cli.watching import watch
from oellm_bench.clock import SystemClock
from oellm_bench.core.job import JobStatus
from oellm_bench.errors import (
    EXIT_DONE,
    AlreadyWatched,
    SchedulerError,
    SchedulerUnavailable,
    SubmissionRejected,
    UsageError,
)
from oellm_bench.fileio import file_lock
from oellm_bench.log import set_up
from oellm_bench.schedulers.base import Scheduler
from oellm_bench.schedulers.slurm import failure_of
from oellm_bench.schedulers.slurm_environment import submission_environment
from oellm_bench.session import Session, read_session
from oellm_bench.session_writing import SMALL_JOB
from oellm_bench.state.lease import Lease
from oellm_bench.units import parse_slurm_time

_WARNING_S = 120  # before the limit: time enough to end a cycle
_SHORTEST_S = 120
_ENDLESS_MIN = 366 * 24 * 60  # what submitit is told of a job without a limit; SLURM is told the truth
_REQUEUES = 100_000  # submitit wants a number; the campaign decides
_TAKEOVER_S = 900.0  # a lease of a node that is gone has run out by then
_RETRY_S = 10.0


@dataclass(frozen=True)
class MonitorJob:
    """What runs in the job. submitit asks for `checkpoint` at the warning, and has the job requeued."""

    session_dir: str
    interval_s: float | None
    actions: Mapping[str, str]

    def __call__(self) -> int:
        """Watch until all is over; the one before may have to lose its lease first."""
        set_up(verbose=False)
        session = read_session(Path(self.session_dir))
        # The lease of a node that is gone lasts for three of its intervals.
        deadline = time.monotonic() + max(_TAKEOVER_S, 4 * (self.interval_s or 0.0))
        while True:
            try:
                return watch(session, interval_s=self.interval_s, once=False, actions=self.actions)
            except AlreadyWatched as err:
                if time.monotonic() > deadline:
                    raise
                sys.stderr.write(f"oellm-bench: {err}\n")
                time.sleep(_RETRY_S)

    def checkpoint(self) -> DelayedSubmission:
        """Return what to run after the requeue: the same, for all that is known is in the journal."""
        return DelayedSubmission(self)


def submit_monitor(
    session: Session, options: Mapping[str, Any], *, interval_s: float | None, actions: Mapping[str, str]
) -> int:
    """Submit the monitor of a session once, and print its job id; one that is there already is that one.

    `options`: those of sbatch for its job.

    Raises SchedulerUnavailable, SubmissionUnclear; AlreadyWatched where a monitor runs elsewhere, UsageError.
    """
    if session.scheduler["class_name"] != "SlurmClient":
        raise UsageError("--as-job needs SLURM; run the monitor in the background instead (nohup, tmux)")
    scheduler = open_scheduler(session)
    name = f"obmon-{session.session8}"
    with file_lock(session.state_layout.monitor_job_lock(session.id)):
        if session.store().state.finished:
            raise UsageError(f"session {session.id} is over; there is nothing to watch")
        known = _living(scheduler, name, session)
        if known is None:
            lease = Lease(session.state_layout.lease(session.id), SystemClock(), length_s=60.0)
            lease.acquire()
            lease.release()
            job = _submit(session, name, {**SMALL_JOB, **options}, MonitorJob(session.session_dir, interval_s, actions))
        else:
            job = str(known.job_id)
            sys.stderr.write(f"oellm-bench: job {job} watches this session already\n")
    sys.stdout.write(f"{job}\n")
    sys.stderr.write(f"its log: {_folder(session) / f'{job}_0_log.err'}; `scancel {job}` ends the watching only\n")
    return EXIT_DONE


def _folder(session: Session) -> Path:
    return session.layout.root / "monitor_job"


def _living(scheduler: Scheduler, name: str, session: Session) -> JobStatus | None:
    """Return the monitor's job where there is one. Raises SchedulerUnavailable where nobody can tell."""
    snapshot = scheduler.snapshot(name, session.looked_up_since, insist=True)
    if not snapshot.queue_answered:
        raise SchedulerUnavailable("the scheduler does not answer; nothing was submitted")
    return next((row for row in snapshot.jobs if row.name == name and not row.state.is_terminal), None)


def _submit(session: Session, name: str, options: Mapping[str, Any], job: MonitorJob) -> str:
    limit_s = parse_slurm_time(options["time"])
    if limit_s is not None and limit_s < _SHORTEST_S:
        raise UsageError(
            f"slurm.monitor_job.time is {options['time']}: give two minutes at least, to end in good order"
        )
    with _environment_of_a_submission():
        try:
            executor = SlurmExecutor(folder=_folder(session), max_num_timeout=_REQUEUES)
        except RuntimeError as err:
            raise SchedulerUnavailable(f"{err}; --as-job needs SLURM's srun on PATH") from err
        executor.update_parameters(
            job_name=name,
            time=_ENDLESS_MIN if limit_s is None else limit_s // 60,
            signal_delay_s=_WARNING_S if limit_s is None else min(_WARNING_S, limit_s // 2),
            wckey=None,
            additional_parameters={"requeue": True, **options},  # these outdo what submitit makes of the above
        )
        try:
            return str(executor.submit(job).job_id)
        except FailedJobError as err:
            for left in _folder(session).glob("*.pkl"):
                if "_" not in left.name:  # submitit's own names are <job>_submitted.pkl
                    left.unlink(missing_ok=True)
            raise _failure(str(err)) from err


def _failure(said: str) -> SchedulerError:
    """Return what a failed sbatch means for the monitor's job."""
    lines = [line for line in said.splitlines() if "sbatch: error:" in line]
    text = "; ".join(dict.fromkeys(line.split("sbatch: error:")[-1].strip() for line in lines)) or " ".join(
        said.split()
    )
    found = failure_of(text, "sbatch")
    if isinstance(found, SubmissionRejected):
        fix = (
            "set slurm.monitor_job (time, mem, partition, account, qos) with -o; `oellm-bench options slurm` tells more"
        )
        return SubmissionRejected(f"sbatch refused the monitor's job: {text}; {fix}")
    return type(found)(f"{text}; run this again, it looks for the job before it sends another")


@contextlib.contextmanager
def _environment_of_a_submission() -> Iterator[None]:
    """Have submitit call sbatch without what speaks of the job this may run in."""
    inherited: dict[str, Any] = dict(os.environ)
    os.environ.clear()
    os.environ.update(submission_environment(inherited, ""))
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(inherited)
