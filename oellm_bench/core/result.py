"""How an attempt ended, and what an entry yielded."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA_VERSION = 1
_MAPPINGS = ("parameters", "params", "metrics", "stages", "resources")
STAGES_SCHEMA_VERSION = 1  # of tasks.json
NO_RECORD = "the runner ended without writing its record"  # the batch script's word in the runner's place


class ErrorMode(enum.Enum):
    """What an ended or stuck attempt is classified as. Each finer kind has a coarser parent."""

    SUCCESS = "success"
    STALL = "stall"
    TIMEOUT = "timeout"
    CRASH = "crash"
    OOM = "oom"
    GPU_OOM = "gpu_oom"
    GPU_FAULT = "gpu_fault"
    NCCL = "nccl"
    NAN = "nan"
    CONFIG_ERROR = "config_error"
    IMPORT_ERROR = "import_error"
    DISK_FULL = "disk_full"
    PREEMPTED = "preempted"
    NODE_FAIL = "node_fail"
    RAY_START_FAILED = "ray_start_failed"
    CONTRACT_ERROR = "contract_error"
    SUBMIT_REJECTED = "submit_rejected"
    DEPENDENCY_FAILED = "dependency_failed"
    LOST = "lost"
    UNKNOWN = "unknown"
    CANCELLED = "cancelled"
    REQUIREMENTS_NOT_MET = "requirements_not_met"

    @property
    def parent(self) -> ErrorMode | None:
        """Return the mode whose policy applies where this one has none."""
        return ErrorMode.CRASH if self in _KINDS_OF_CRASH else None


_KINDS_OF_CRASH = frozenset(
    {
        ErrorMode.OOM,
        ErrorMode.GPU_OOM,
        ErrorMode.GPU_FAULT,
        ErrorMode.NCCL,
        ErrorMode.NAN,
        ErrorMode.CONFIG_ERROR,
        ErrorMode.IMPORT_ERROR,
        ErrorMode.DISK_FULL,
        ErrorMode.PREEMPTED,
        ErrorMode.NODE_FAIL,
        ErrorMode.RAY_START_FAILED,
        ErrorMode.CONTRACT_ERROR,
        ErrorMode.UNKNOWN,
    }
)


@dataclass(frozen=True, kw_only=True)
class ExitRecord:
    """`exit.json`: the job's own word on how it ended; the only true exit code.

    `returncode` is the command's (negative: that signal), None when it never ran. `failure` is empty, or the
    error mode the runner itself knows (`timeout`, `ray_start_failed`, `contract_error`, `cancelled`).
    `restarts` is SLURM_RESTART_COUNT: an older incarnation's record is not this one's. `job_id` as SLURM writes it
    (`123`, `123_4`), empty outside of a job.
    """

    token: str
    attempt: int
    returncode: int | None
    failure: str = ""
    message: str = ""
    restarts: int = 0
    job_id: str = ""
    host: str = ""
    started_at: float = 0.0
    ended_at: float = 0.0

    def to_document(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> ExitRecord:
        """Read what `to_document` wrote. Raises TypeError or KeyError for anything else."""
        return cls(**{key: value for key, value in document.items() if key != "schema_version"})


@dataclass(frozen=True, kw_only=True)
class EntryResult:
    """`results.json`: the normalised result of an entry.

    `metrics` and `params` are the script's own; `exec_time_s` is the command's run time,
    `resources` what it used: `cpu_s`, `peak_rss_bytes`, ...; `resumed_from`: the checkpoint it went on from.
    `requirements_told`: what else there is to say of requirements: misses that were expected, what was not judged.
    """

    name: str
    id: str
    attempt: int
    success: bool
    error_mode: str
    reason: str = ""
    returncode: int | None = None
    exec_time_s: float | None = None
    started_at: float | None = None
    ended_at: float | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    params: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    stages: Mapping[str, Any] = field(default_factory=dict)
    resources: Mapping[str, Any] = field(default_factory=dict)
    requirements_not_met: tuple[str, ...] = ()
    requirements_told: tuple[str, ...] = ()
    resumed_from: str = ""

    def to_document(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @property
    def ran_well(self) -> bool:
        """Whether the command did its work; a missed requirement says nothing against that."""
        return self.error_mode in (ErrorMode.SUCCESS.value, ErrorMode.REQUIREMENTS_NOT_MET.value)

    def figures(self) -> dict[str, Any]:
        """Return everything that requirements may name, by that name."""
        return {**self.resources, **flat_stages(self.stages), **self.metrics, "exec_time_s": self.exec_time_s}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> EntryResult:
        """Read what `to_document` wrote. Raises TypeError or KeyError for anything else: jobs can write there too."""
        mappings = (document, *(document.get(name, {}) for name in _MAPPINGS if isinstance(document, Mapping)))
        if not all(isinstance(mapping, Mapping) for mapping in mappings):
            raise TypeError("a result is an object, and so are its parameters, metrics, stages and resources")
        values = {key: value for key, value in document.items() if key != "schema_version"}
        values["requirements_told"] = tuple(values.get("requirements_told", ()))
        return cls(**{**values, "requirements_not_met": tuple(values["requirements_not_met"])})


def flat_stages(stages: Any) -> dict[str, Any]:
    """Return the figures of the stages under one name each; nothing where they are not of our shape."""
    try:
        return {
            f"task_{stage}_{metric}_{figure}": value
            for stage, metrics in stages.items()
            for metric, figures in metrics.items()
            for figure, value in figures.items()
        }
    except AttributeError:
        return {}
