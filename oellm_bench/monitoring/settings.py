"""What is watched for: log signals, silence, and what they trigger."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from oellm_bench.actions.base import ActionChoice
from oellm_bench.conditions.base import ConditionChoice
from oellm_bench.core.option import option


@dataclass(frozen=True, kw_only=True)
class LogSignal:
    """A pattern in a log and what it means."""

    name: str = option("name of the signal, shown in status and in the journal")
    pattern: str = option("what a line must contain")
    pattern_type: Literal["regex", "substring"] = option("how the pattern is read", "regex")
    metadata: dict[str, Any] = option(
        "kept with the signal; kind: checkpoint makes group `path` {checkpoint_path}", factory=dict
    )
    extract_groups: dict[str, str | int] = option("names for groups of the regex: {step: 1}", factory=dict)
    once: bool = option("fire for the first match of an attempt only", False)
    mode: str = option("error mode an attempt that ends badly is classified as; empty: none", "")
    action: str = option("name of an action in monitoring.actions; empty: none", "")


@dataclass(frozen=True, kw_only=True)
class LogSignature:
    """What a cause of failure writes into the log."""

    pattern: str = option("regular expression for a line; empty: not looked for")
    mode: str = option("error mode of an attempt that crashed and wrote this", "crash")
    subsystem: str = option("what it belongs to, for policies: gpu, network, storage, ...", "")
    cascade: bool = option("whether it follows from another failure elsewhere: any other cause comes first", False)
    advice: str = option("what to do about it", "")


@dataclass(frozen=True, kw_only=True)
class MonitoringConfig:
    """How entries are watched."""

    class_name: Literal["SlurmLogMonitor", "NullMonitor"] = option(
        "SlurmLogMonitor follows states and logs, NullMonitor states only", "SlurmLogMonitor"
    )
    interval_s: float = option("pause between two looks", 30.0, unit="s")
    missing_grace_s: float = option(
        "how long a job may be in no answer of the scheduler before it counts as lost", 600.0, unit="s"
    )
    inactivity_s: float = option("silence of a running job that counts as a stall; 0: none", 0.0, unit="s")
    startup_s: float = option("silence allowed before the first output; 0: as inactivity_s", 0.0, unit="s")
    progress_s: float = option(
        "time without a new iteration (backend.progress) that counts as a stall, whatever is written; 0: none",
        0.0,
        unit="s",
    )
    cancel_hopeless: bool = option(
        "cancel a job that waits for what never comes (PartitionTimeLimit, BadConstraints, ...), after telling of it",
        False,
    )
    start_conditions: tuple[ConditionChoice, ...] = option("an entry is submitted once all of these hold", ())
    cancel_conditions: tuple[ConditionChoice, ...] = option(
        "an entry is cancelled for good once one of these holds", ()
    )
    logs: tuple[str, ...] = option(
        "further logs of an entry to follow, of its ranks say: paths with {placeholders}, {attempt_dir} too, and *", ()
    )
    ignore_output: tuple[str, ...] = option(
        "regular expressions for lines that are no sign of life (a keep-alive, a warning that repeats)", ()
    )
    log_signals: tuple[LogSignal, ...] = option("patterns looked for in stdout, stderr and `logs`", ())
    signatures: dict[str, LogSignature] = option(
        "causes by name, looked for at the end of the logs of an attempt that crashed", factory=dict
    )
    actions: dict[str, ActionChoice] = option(
        "what signals can ask for, by name: a command as a line or a list, or an action by class_name", factory=dict
    )
    action_timeout_s: float = option("how long one action may run", 3600.0, unit="s")
    action_attempts: int = option("how often a failing action is tried", 3)
