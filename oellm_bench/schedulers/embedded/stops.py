"""The ways a job is ended before its time, and how its end is then reported.

Source: JOB STATE CODES and REASON CODES in squeue(1); texts and codes as measured on Slurm 22.05.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from oellm_bench.core.job import JobState

OOM_SIGNAL = 125  # Slurm's own number: an oom-killed job has the exit code 0:125
LAUNCH_SIGNAL = 53  # and a job whose directory or log cannot be opened 0:53


class Stop(enum.Enum):
    """Why a running job is ended. The value is what is kept on disk."""

    CANCEL = "cancel"
    TIME_LIMIT = "time_limit"
    PREEMPT = "preempt"
    REQUEUE = "requeue"
    NODE_FAIL = "node_fail"
    OOM = "oom"

    @property
    def has_grace(self) -> bool:
        """Whether the processes get TERM and time before KILL."""
        return self not in (Stop.NODE_FAIL, Stop.OOM)

    def log_line(self, raw_id: int, node: str, at: str) -> str:
        """Return what slurmstepd writes into the job's error file; `at` is local time, ISO 8601."""
        if self is Stop.OOM:
            return (
                f"slurmstepd: error: Detected 1 oom-kill event(s) in StepId={raw_id}.batch. Some of your "
                "processes may have been killed by the cgroup out-of-memory handler."
            )
        cause = _CAUSES.get(self)
        ending = f" DUE TO {cause}" if cause else ""
        return f"slurmstepd: error: *** JOB {raw_id} ON {node} CANCELLED AT {at}{ending} ***"


_CAUSES = {
    Stop.TIME_LIMIT: "TIME LIMIT",
    Stop.PREEMPT: "PREEMPTION",
    Stop.REQUEUE: "JOB REQUEUE",
    Stop.NODE_FAIL: "NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS",
}


@dataclass(frozen=True, kw_only=True)
class Ending:
    """The row of an ended job, `exit_code:signal` as sacct prints them."""

    state: JobState
    reason: str
    exit_code: int = 0
    signal: int = 0


_ENDINGS = {
    Stop.CANCEL: Ending(state=JobState.CANCELLED, reason="None"),
    Stop.TIME_LIMIT: Ending(state=JobState.TIMEOUT, reason="TimeLimit"),
    Stop.PREEMPT: Ending(state=JobState.PREEMPTED, reason="None"),
    Stop.NODE_FAIL: Ending(state=JobState.NODE_FAIL, reason="NodeDown"),
    Stop.OOM: Ending(state=JobState.OUT_OF_MEMORY, reason="OutOfMemory", signal=OOM_SIGNAL),
}


def ending(returncode: int, stop: Stop | None, *, may_requeue: bool, cancelled: bool) -> Ending | None:
    """Return how a job ended, None when it is to run again.

    returncode: the script's, negative for a signal. `cancelled`: a person does not want it any more,
    which wins over a rerun.
    """
    if stop is None:
        return natural_ending(returncode)
    again = stop is Stop.REQUEUE or (stop in (Stop.PREEMPT, Stop.NODE_FAIL) and may_requeue)
    if again and not cancelled:
        return None
    return _ENDINGS[Stop.CANCEL if again else stop]


def natural_ending(returncode: int) -> Ending:
    """Return how a job ended whose script came to an end by itself."""
    if returncode == 0:
        return Ending(state=JobState.COMPLETED, reason="None")
    if returncode < 0:
        return Ending(state=JobState.FAILED, reason="JobLaunchFailure", signal=-returncode)
    return Ending(state=JobState.FAILED, reason="NonZeroExitCode", exit_code=returncode)


LAUNCH_FAILURE = Ending(state=JobState.FAILED, reason="JobLaunchFailure", signal=LAUNCH_SIGNAL)
