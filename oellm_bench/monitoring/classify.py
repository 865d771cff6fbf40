"""From the evidence about an ended attempt to its error mode: pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from oellm_bench.core.job import JobState
from oellm_bench.core.result import NO_RECORD, EntryResult, ErrorMode, ExitRecord
from oellm_bench.monitoring.signatures import Cause


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What three witnesses say: the scheduler, the job itself, and its results.

    `cancel_by` is who asked this tool to cancel (`user`, `stall`, empty), and `cancel_mode` what the attempt is then
    judged as where they said so. `signal_modes` are the error modes of
    log signals in the order they were seen, `cause` is what the logs of a crash tell. `last_error` is the last line of
    stderr, `scheduler_log` the end of what the scheduler wrote into the job's output file. `vanished_unstarted`: a job
    that had not started, and that no source lists any more; `waited_for_others`: for jobs of other entries. `at_limit`:
    it was gone when its time was up, not before.
    """

    state: JobState
    record: ExitRecord | None = None
    result: EntryResult | None = None
    cancel_by: str = ""
    cancel_reason: str = ""
    cancel_mode: str = ""
    exit_code: int | None = None
    signal: int | None = None
    scheduler_reason: str = ""
    cancelled_by: str = ""
    signal_modes: tuple[tuple[str, str], ...] = field(default=())
    cause: Cause | None = None
    last_error: str = ""
    scheduler_log: str = ""
    vanished_unstarted: bool = False
    at_limit: bool = False
    waited_for_others: bool = False


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """An error mode, why, and the command's return code where one is known."""

    mode: ErrorMode
    reason: str
    returncode: int | None = None
    cause: Cause | None = None


# States that a cancel may have led to; what had ended otherwise before the cancel came keeps its own cause.
_CANCELLED = (JobState.CANCELLED, JobState.REVOKED, JobState.UNKNOWN)
# squeue's reason for a job that waits for ever (JOB REASON CODES in squeue(1)).
DEPENDENCY_NEVER_SATISFIED = "DependencyNeverSatisfied"
# What slurmstepd writes when it ends a job for its memory; without cgroups the state is a plain FAILED.
_OUT_OF_MEMORY = ("exceeded memory limit", "Exceeded job memory limit", "oom-kill event", "oom_kill event")
# What slurmstepd writes when it ends a job for another reason: all that is left where nobody keeps its state.
_DUE_TO = {
    "DUE TO TIME LIMIT": (ErrorMode.TIMEOUT, "the job reached its time limit"),
    "DUE TO PREEMPTION": (ErrorMode.PREEMPTED, "preempted by the scheduler"),
    "DUE TO NODE FAILURE": (ErrorMode.NODE_FAIL, "the node failed"),
}
_FROM_STATE = {
    JobState.NODE_FAIL: (ErrorMode.NODE_FAIL, "the node failed"),
    JobState.BOOT_FAIL: (ErrorMode.NODE_FAIL, "the node did not boot"),
    JobState.PREEMPTED: (ErrorMode.PREEMPTED, "preempted by the scheduler"),
    JobState.OUT_OF_MEMORY: (ErrorMode.OOM, "killed for using more memory than it asked for"),
    JobState.TIMEOUT: (ErrorMode.TIMEOUT, "the job reached its time limit"),
    JobState.DEADLINE: (ErrorMode.TIMEOUT, "the job reached its deadline"),
}


def classify(evidence: Evidence) -> Verdict:
    """Return how the attempt ended. What has succeeded has succeeded, even if a cancel was on its way."""
    record = evidence.record
    returncode = record.returncode if record is not None else evidence.exit_code
    clean_end = evidence.state in (JobState.COMPLETED, JobState.UNKNOWN) or evidence.result is not None
    if record is not None and not record.failure and record.returncode == 0 and clean_end:
        return _of_result(evidence, returncode)
    cancelled = _of_cancel(evidence, returncode)
    if cancelled is not None:
        return cancelled
    if evidence.state in _FROM_STATE:
        mode, reason = _FROM_STATE[evidence.state]
        return Verdict(mode=mode, reason=reason, returncode=returncode)
    killed_for_memory = next((text for text in _OUT_OF_MEMORY if text in evidence.scheduler_log), None)
    if killed_for_memory:
        return Verdict(
            mode=ErrorMode.OOM, reason=f"the scheduler's log says: {killed_for_memory}", returncode=returncode
        )
    ended_by = _ended_by(evidence)
    if ended_by is not None:
        return Verdict(mode=ended_by[0], reason=ended_by[1], returncode=returncode)
    if record is not None and record.failure:
        return _of_record(record, evidence)
    if record is None and evidence.state is JobState.COMPLETED:
        reason = "the scheduler says COMPLETED, and the job left no exit.json"
        return Verdict(mode=ErrorMode.UNKNOWN, reason=reason)
    if record is None and evidence.exit_code is None and evidence.signal is None:
        reason = "neither the scheduler nor the job says how it ended"
        return Verdict(mode=ErrorMode.LOST, reason=reason)
    return _crash(evidence, returncode)


def _ended_by(evidence: Evidence) -> tuple[ErrorMode, str] | None:
    """Return what ended a job of which the scheduler's state does not say it, and the job had no time to."""
    if evidence.state not in (JobState.UNKNOWN, JobState.FAILED):
        return None
    if evidence.record is not None and evidence.record.failure != "cancelled":
        return None
    # A job that was requeued has written on into the same log: what was said before its last start is old.
    said = evidence.scheduler_log.rpartition("\nentry=")[2]
    found = next((meaning for text, meaning in _DUE_TO.items() if text in said), None)
    if found is None and evidence.record is None and evidence.at_limit:
        return ErrorMode.TIMEOUT, "it was gone when the time limit was reached, and nobody says why"
    return found


def _of_cancel(evidence: Evidence, returncode: int | None) -> Verdict | None:
    """Return the verdict on an attempt that was cancelled, by whomever; None for any other."""
    invalid = evidence.state is JobState.CANCELLED and evidence.scheduler_reason == DEPENDENCY_NEVER_SATISFIED
    if evidence.cancel_by == "dependency" or invalid:
        reason = "the job it depends on did not end as it should"
        return Verdict(mode=ErrorMode.DEPENDENCY_FAILED, reason=reason)
    if evidence.cancel_mode and evidence.state in _CANCELLED:
        return Verdict(mode=ErrorMode(evidence.cancel_mode), reason=evidence.cancel_reason, returncode=returncode)
    if evidence.state in _CANCELLED and (evidence.cancel_by or evidence.state is not JobState.UNKNOWN):
        return Verdict(mode=ErrorMode.CANCELLED, reason=_canceller(evidence), returncode=returncode)
    if evidence.vanished_unstarted and evidence.record is None and evidence.waited_for_others:
        reason = "its job was taken away before it started, with what it waited for"
        return Verdict(mode=ErrorMode.DEPENDENCY_FAILED, reason=reason)
    if evidence.vanished_unstarted and evidence.record is None:
        return Verdict(mode=ErrorMode.CANCELLED, reason="its array task was cancelled before it started")
    return None


def _of_result(evidence: Evidence, returncode: int | None) -> Verdict:
    result = evidence.result
    if result is None:
        reason = "the command exited with 0, and the job left no results.json"
        return Verdict(mode=ErrorMode.UNKNOWN, reason=reason, returncode=returncode)
    mode = ErrorMode.SUCCESS if result.success else ErrorMode(result.error_mode)
    return Verdict(mode=mode, reason=result.reason, returncode=returncode)


def _of_record(record: ExitRecord, evidence: Evidence) -> Verdict:
    """Trust the runner's own word, but a cancel that nobody asked the scheduler for is a crash."""
    if record.failure == "cancelled":
        reason = f"{record.message or 'ended by a signal'}, and the scheduler knows of no cancel"
        return Verdict(mode=ErrorMode.CRASH, reason=reason, returncode=record.returncode)
    if record.failure == "crash":
        return _crash(evidence, record.returncode)
    return Verdict(mode=ErrorMode(record.failure), reason=record.message, returncode=record.returncode)


def _crash(evidence: Evidence, returncode: int | None) -> Verdict:
    for mode, name in evidence.signal_modes:
        reason = f"log signal {name}: {_exit_text(evidence, returncode)}"
        return Verdict(mode=ErrorMode(mode), reason=reason, returncode=returncode)
    text = _exit_text(evidence, returncode)
    cause = evidence.cause
    if cause is not None:
        return Verdict(mode=cause.mode, reason=f"{text}: {cause.line}", returncode=returncode, cause=cause)
    if evidence.record is not None and evidence.record.message:
        text = f"{text}: {_own_words(evidence.record.message, evidence.scheduler_log)}"
    elif evidence.last_error:
        text = f"{text}: {evidence.last_error}"
    return Verdict(mode=ErrorMode.CRASH, reason=text, returncode=returncode)


def _own_words(message: str, scheduler_log: str) -> str:
    """Return what a runner said for itself that could not even begin its record; else what the record says."""
    if message != NO_RECORD:
        return message
    said = (line for line in reversed(scheduler_log.splitlines()) if line.startswith("run_entry: "))
    return next(said, message)


def _exit_text(evidence: Evidence, returncode: int | None) -> str:
    if returncode is not None and returncode < 0:
        return f"killed by signal {-returncode}"
    if returncode:
        return f"exit code {returncode}"
    if evidence.signal:
        return f"killed by signal {evidence.signal}"
    reason = f" ({evidence.scheduler_reason})" if evidence.scheduler_reason not in ("", "None") else ""
    return f"{evidence.state.value}{reason}"


def _canceller(evidence: Evidence) -> str:
    if evidence.cancel_reason:
        return evidence.cancel_reason
    who = f" by {evidence.cancelled_by}" if evidence.cancelled_by else ""
    return f"cancelled{who}"
