"""SLURM through its commands: sbatch, squeue, sacct, scancel, scontrol."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from compoconf import register

from oellm_bench.core.job import JobId, Snapshot
from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.errors import (
    ConfigError,
    Problem,
    QueueFull,
    SchedulerError,
    SchedulerUnavailable,
    SubmissionRejected,
    SubmissionUnclear,
)
from oellm_bench.schedulers import slurm_parse
from oellm_bench.schedulers.base import (
    CallBudget,
    Limits,
    Partition,
    Scheduler,
    SubmitRequest,
    Trial,
    index_ranges,
)
from oellm_bench.schedulers.slurm_calls import Ledger, SlurmCalls, failure_text
from oellm_bench.schedulers.slurm_environment import query_environment, submission_environment
from oellm_bench.shell import Completed

# No place just now; the job was not taken. Source: src/common/slurm_errno.c and sbatch(1), 22.05 to 25.05.
_FULL = (
    "QOSMaxSubmitJobPerUserLimit",
    "QOSMaxSubmitJobPerAccountLimit",
    "AssocMaxSubmitJobLimit",
    "AssocGrpSubmitJobsLimit",
    "QOSGrpSubmitJobsLimit",
    "job submit limit",
    "Slurm temporarily unable to accept job",
    "Resource temporarily unavailable",
)
# The answer got lost, not the question: the job may be there. Measured on 22.05 with the controller paused, killed
# and restarted in the middle of a submission.
_UNCLEAR = (
    "Socket timed out",
    "Zero Bytes were transmitted or received",
    "Unexpected message received",
    "Communication connection failure",
    "Connection refused",
    "Connection reset",
    "Transport endpoint is not connected",
    "Protocol authentication error",
    "Message receive failure",
    "Message send failure",
    "Slurm backup controller in standby mode",
    "Unspecified error",
)
# Said before anything was sent.
_NOT_SENT = ("Could not establish a configuration source", "Unable to contact slurm controller")
# Whatever else sbatch says is a refusal. What to set, by what it says.
_FIXES = {
    "nvalid account": "set slurm.sbatch.account to one of yours (sacctmgr show assoc user=$USER)",
    "nvalid partition": "set slurm.sbatch.partition to one that sinfo lists",
    "nvalid qos": "set slurm.sbatch.qos to one of yours (sacctmgr show qos)",
    "nvalid generic resource": "correct slurm.sbatch.gres or gpus; sinfo -o %G lists what there is",
    "node configuration is not available": "ask for fewer CPUs, GPUs or less memory per node",
    "time limit": "shorten project.timeout_s or slurm.sbatch.time, or choose another partition",
    "ode count": "correct slurm.sbatch.nodes",
    "nvalid job array specification": "lower slurm.max_array_size",
    "nvalid feature specification": "correct slurm.sbatch.constraint",
    "dependency": "correct slurm.sbatch.dependency",
    "reservation": "correct slurm.sbatch.reservation",
    "unrecognized option": "this SLURM does not know an option of slurm.sbatch",
    "denied": "this user may not submit here; set slurm.sbatch.account or slurm.sbatch.partition",
    "Job violates accounting/QOS policy": "ask for less time or fewer nodes, or set another slurm.sbatch.qos",
}


@dataclass(frozen=True, kw_only=True)
class SlurmConfig(PluginConfig):
    """The SLURM commands on PATH."""

    timeout_s: float = option("how long one SLURM command may take", 120.0, unit="s")
    calls_per_s: float = option("SLURM commands this tool may call in the long run", 2.0, unit="1/s")
    call_burst: int = option("commands it may call at once", 30)
    lookup_grace_s: float = option("how long a job of an unclear submission may take to turn up", 180.0, unit="s")


@register
class SlurmClient(Scheduler):
    """A real cluster. At most two calls per snapshot, no list of ids on any query."""

    config: SlurmConfig

    def __init__(self, config: SlurmConfig, folder: Path) -> None:
        wrong = [name for name in ("calls_per_s", "call_burst", "timeout_s") if not getattr(config, name) > 0]
        if wrong or config.lookup_grace_s < 0:
            where = f"slurm.client.{(wrong or ['lookup_grace_s'])[0]}"
            raise ConfigError(Problem(what="this number cannot work", where=where, fix="give one above 0"))
        self.config = config
        self.lookup_grace_s = config.lookup_grace_s
        self._ledger = Ledger(folder / "slurm-calls.json", per_s=config.calls_per_s, burst=config.call_burst)
        self._calls = SlurmCalls(self._ledger, timeout_s=config.timeout_s)
        self._has_accounting = True

    def submit(self, request: SubmitRequest) -> JobId:
        """Call sbatch once; what a failure means is read from its words."""
        done = self._sbatch(request, request.sbatch_argv())
        if done.returncode == 0:
            try:
                return JobId.parse(done.stdout.strip().splitlines()[-1])
            except (ValueError, IndexError) as err:
                raise SubmissionUnclear(f"sbatch answered {done.stdout!r}, which is no job id") from err
        raise _failure(done, request)

    def snapshot(self, prefix: str, since: float, *, insist: bool = False) -> Snapshot:
        """Ask squeue for the living and sacct for the ended, once each.

        A cluster without accounting has one source only, and that has then answered for both.
        """
        asked_at, before = time.time(), self._calls.made
        environment = query_environment(os.environ)
        queue = self._calls.query(slurm_parse.squeue_argv(), environment, insist=insist)
        accounting = None
        if self._has_accounting:
            accounting = self._calls.query(slurm_parse.sacct_argv(since), environment, insist=insist)
        if accounting is not None and accounting.returncode != 0:
            self._has_accounting, accounting = False, None
        living = slurm_parse.parse_squeue(queue.stdout, prefix) if queue else []
        ended = slurm_parse.parse_sacct(accounting.stdout, prefix) if accounting else {}
        rows = slurm_parse.merge(living, ended)
        last = accounting if self._has_accounting else queue
        return Snapshot(
            taken_at=asked_at,  # what came later may be in the answers, or not
            jobs=tuple(row for row in rows if row.submitted_at is None or row.submitted_at >= since),
            queue_answered=queue is not None,
            accounting_answered=last is not None,
            calls=self._calls.made - before,
        )

    def cancel(self, job_ids: Collection[JobId]) -> None:
        """Call scancel; tasks of one array go together."""
        if not job_ids:
            return
        self._ask("scancel", *_cancel_arguments(job_ids))

    def requeue(self, job_id: JobId) -> None:
        """Call scontrol requeue: of a job that the controller still knows, and that has --requeue."""
        done = self._calls.call(("scontrol", "requeue", str(job_id)), query_environment(os.environ))
        if done.returncode != 0:
            message = failure_text(done)
            raise _unanswered(done, message) or SubmissionRejected(message)

    def limits(self) -> Limits:
        """Read the cluster's configuration."""
        return Limits(max_array_size=slurm_parse.max_array_size(self._ask("scontrol", "show", "config")))

    def partitions(self) -> tuple[Partition, ...]:
        """Read the partitions' limits."""
        return tuple(slurm_parse.parse_partitions(self._ask("scontrol", "--all", "--oneliner", "show", "partition")))

    def rehearse(self, request: SubmitRequest) -> Trial:
        """Have sbatch --test-only judge the script."""
        done = self._sbatch(request, ("sbatch", "--test-only", *request.sbatch_argv()[1:]))
        if done.returncode == 0:
            return Trial(accepted=True, message=done.stderr.strip().removeprefix("sbatch: "))
        failure = _failure(done, request)
        if isinstance(failure, SubmissionRejected):
            return Trial(accepted=False, message=str(failure))
        if isinstance(failure, QueueFull):
            return Trial(accepted=True, message=f"{failure}; submit waits until there is room")
        raise SchedulerUnavailable(str(failure))

    def budget(self) -> CallBudget:
        """Return the state of the ledger that all processes on one state folder share."""
        return self._ledger.budget()

    def _sbatch(self, request: SubmitRequest, argv: Sequence[str]) -> Completed:
        inherited = {**os.environ, **request.environment}
        try:
            script = request.script.read_text(encoding="utf-8")
        except OSError as err:
            raise SubmissionRejected(f"{request.script} cannot be read ({err.strerror}); nothing was sent") from err
        return self._calls.call(argv, submission_environment(inherited, script), not_after=request.not_after)

    def _ask(self, *argv: str) -> str:
        """Return what a command printed. Raises SchedulerUnavailable."""
        done = self._calls.call(argv, query_environment(os.environ))
        if done.returncode != 0:
            raise SchedulerUnavailable(failure_text(done))
        return done.stdout


def _failure(done: Completed, request: SubmitRequest) -> SchedulerError:
    """Return what a failed sbatch means: lost answer, nobody there, no place, or a refusal."""
    message = failure_text(done)
    return _unanswered(done, message) or failure_of(message, f"the script is {request.script}")


def _unanswered(done: Completed, message: str) -> SchedulerError | None:
    """Return what it means that a command has failed without an answer of the controller's, None where it has one."""
    killed = done.returncode is None or done.returncode < 0
    return SubmissionUnclear(message) if killed else _no_answer(message)


def _no_answer(message: str) -> SchedulerError | None:
    if any(text in message for text in _UNCLEAR):
        return SubmissionUnclear(message)
    if any(text in message for text in _NOT_SENT):
        return SchedulerUnavailable(message)
    return None


def failure_of(message: str, more: str) -> SchedulerError:
    """Return what sbatch's words mean; a refusal says what to set, and `more`."""
    unanswered = _no_answer(message)
    if unanswered is not None:
        return unanswered
    if any(text in message for text in _FULL):
        return QueueFull(message)
    fix = next((fix for text, fix in _FIXES.items() if text in message), "correct slurm.sbatch")
    return SubmissionRejected(f"{message}; {fix}; {more}")


def _cancel_arguments(job_ids: Collection[JobId]) -> list[str]:
    """Return ids as scancel takes them: tasks of one array as `123_[0-3,7]`."""
    tasks: dict[int, list[int]] = {}
    for job_id in job_ids:
        tasks.setdefault(job_id.job, []).extend([] if job_id.task is None else [job_id.task])
    return [f"{job}_[{index_ranges(indices)}]" if indices else str(job) for job, indices in tasks.items()]
