"""What a scheduler knows of a job: its id, its state and the rest of its row."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

_JOB_ID = re.compile(r"(?P<job>\d+)(?:_(?P<task>\d+))?(?:\+(?P<component>\d+))?")


class JobState(enum.Enum):
    """Every job state code of sacct(1) and squeue(1), and UNKNOWN for a name that is not among them.

    Source: JOB STATE CODES in sacct(1) and squeue(1), Slurm 22.05 to 25.05.
    """

    PENDING = "PENDING"
    CONFIGURING = "CONFIGURING"
    RUNNING = "RUNNING"
    SUSPENDED = "SUSPENDED"
    STOPPED = "STOPPED"
    SIGNALING = "SIGNALING"
    RESIZING = "RESIZING"
    STAGE_OUT = "STAGE_OUT"
    COMPLETING = "COMPLETING"
    REQUEUED = "REQUEUED"
    REQUEUE_FED = "REQUEUE_FED"
    REQUEUE_HOLD = "REQUEUE_HOLD"
    RESV_DEL_HOLD = "RESV_DEL_HOLD"
    SPECIAL_EXIT = "SPECIAL_EXIT"
    POWER_UP_NODE = "POWER_UP_NODE"
    UPDATE_DB = "UPDATE_DB"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMEOUT = "TIMEOUT"
    DEADLINE = "DEADLINE"
    OUT_OF_MEMORY = "OUT_OF_MEMORY"
    NODE_FAIL = "NODE_FAIL"
    BOOT_FAIL = "BOOT_FAIL"
    LAUNCH_FAILED = "LAUNCH_FAILED"
    RECONFIG_FAIL = "RECONFIG_FAIL"
    PREEMPTED = "PREEMPTED"
    REVOKED = "REVOKED"
    UNKNOWN = "UNKNOWN"

    @classmethod
    def parse(cls, text: str) -> JobState:
        """Return the state for a scheduler's text, `CANCELLED by 1000` and `CANCELLED+` included.

        A name that is not in the table is UNKNOWN, which is never terminal.
        """
        words = text.split()
        name = words[0].rstrip("+").upper() if words else ""
        return cls.__members__.get(name, cls.UNKNOWN)

    @property
    def is_terminal(self) -> bool:
        """Whether a job in this state has ended for good."""
        return self in _TERMINAL

    @property
    def is_running(self) -> bool:
        """Whether the job's processes may be working (stall clocks run only then)."""
        return self is JobState.RUNNING


_TERMINAL = frozenset(
    {
        JobState.COMPLETED,
        JobState.FAILED,
        JobState.CANCELLED,
        JobState.TIMEOUT,
        JobState.DEADLINE,
        JobState.OUT_OF_MEMORY,
        JobState.NODE_FAIL,
        JobState.BOOT_FAIL,
        JobState.PREEMPTED,
        JobState.REVOKED,
    }
)


@dataclass(frozen=True, order=True)
class JobId:
    """A job or an array task: `123` or `123_4`. A heterogeneous job is one job, whatever its components."""

    job: int
    task: int | None = None

    @classmethod
    def parse(cls, text: str) -> JobId:
        """Return the id for `123`, `123_4` or `123;cluster`. Raises ValueError for anything else."""
        match = _JOB_ID.fullmatch(text.strip().split(";")[0])
        if match is None:
            raise ValueError(f"'{text}' is not a job id")
        return cls(int(match["job"]), None if match["task"] is None else int(match["task"]))

    def __str__(self) -> str:
        """Return SLURM's own spelling."""
        return str(self.job) if self.task is None else f"{self.job}_{self.task}"


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """One row of a scheduler's answer.

    `name` is the job name, our token. `exit_code` and `signal` as sacct prints them (exit codes above 127
    are masked there; the job's own exit.json has the true one). Times are epoch seconds, None when unknown.
    `billed_tres` as accounting writes it, `billing=4,cpu=4,mem=8G`. `in_queue`: the queue tells of it, not accounting
    alone.
    """

    job_id: JobId
    name: str
    state: JobState
    exit_code: int | None = None
    signal: int | None = None
    reason: str = ""
    nodes: str = ""
    restarts: int = 0
    submitted_at: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    time_limit_s: int | None = None
    cancelled_by: str = ""
    max_rss_bytes: int | None = None
    billed_tres: str = ""
    in_queue: bool = True


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What the scheduler answered at one moment.

    `jobs` has one row per job or array task whose name has the asked-for prefix. `queue_answered` and
    `accounting_answered` tell a silent source from an empty one: a job missing from a source that did not
    answer is not missing. `calls` counts the scheduler commands spent.
    """

    taken_at: float
    jobs: tuple[JobStatus, ...] = ()
    queue_answered: bool = False
    accounting_answered: bool = False
    calls: int = 0
