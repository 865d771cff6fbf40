"""Jobs that wait for what never comes: told to people, and cancelled where they want that. Pure."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping

from oellm_bench.core.events import CancelAsked, Noticed
from oellm_bench.core.job import JobState
from oellm_bench.core.result import ErrorMode
from oellm_bench.monitoring.classify import DEPENDENCY_NEVER_SATISFIED
from oellm_bench.monitoring.settings import MonitoringConfig
from oellm_bench.state.model import AttemptState, EntryState

# Reasons that no waiting changes, and what does. Source: JOB REASON CODES in squeue(1), Slurm 22.05 to 25.05.
_IN_VAIN: Mapping[str, str] = {
    "AccountNotAllowed": "give an account that may use the partition (slurm.sbatch.account)",
    "AssocMaxWallDurationPerJobLimit": "ask for less time, or for another account",
    "BadConstraints": "no node has these features together (slurm.sbatch.constraint)",
    "InvalidAccount": "give an account of yours (slurm.sbatch.account)",
    "InvalidQOS": "give a QOS of your account (slurm.sbatch.qos)",
    "PartitionNodeLimit": "ask for fewer nodes, or for another partition",
    "PartitionTimeLimit": "ask for less time, or for another partition",
    "QOSMaxWallDurationPerJobLimit": "ask for less time, or for another QOS",
}
# What people hold, or SLURM until people look at it.
_HELD: Mapping[str, str] = {
    "JobHeldAdmin": "an administrator holds it; ask why",
    "JobHeldUser": "release it: scontrol release JOB",
    "launch failed requeued held": "its start failed on a node; look at the job's reason, then: scontrol release JOB",
    "job requeued in held state": "release it: scontrol release JOB",
}
_HELD_STATES: Mapping[JobState, str] = {
    JobState.REQUEUE_HOLD: "it was requeued and is held; scontrol release JOB",
    JobState.SPECIAL_EXIT: "it was requeued in a special state and is held; scontrol release JOB",
    JobState.RESV_DEL_HOLD: "its reservation is gone; give it another one, then: scontrol release JOB",
}


def waits_in_vain(
    entry: EntryState, attempt: AttemptState, settings: MonitoringConfig, told: Container[str], now: float
) -> Iterator[Noticed | CancelAsked]:
    """Yield a notice for a job that waits for ever, or is held, and a cancel where nobody else can help it.

    `told`: the keys of the notices there are already.
    """
    if attempt.cancel_by or attempt.state.is_terminal:
        return
    reason = attempt.scheduler_reason.replace("_", " ")
    if attempt.scheduler_reason == DEPENDENCY_NEVER_SATISFIED:
        mode = ErrorMode.DEPENDENCY_FAILED.value
        yield CancelAsked(at=now, entry=entry.id, attempt=attempt.number, by="dependency", mode=mode)
        return
    what = _IN_VAIN.get(reason, "")
    held = _HELD.get(reason) or _HELD_STATES.get(attempt.state, "")
    if not (what or held) or attempt.state.is_running:
        return
    shown = reason if reason not in ("", "None") else attempt.state.value
    fix = (what or held).replace("JOB", attempt.job_id)
    key = f"{entry.id}/a{attempt.number}/{shown}"
    if key not in told:
        message = f"job {attempt.job_id} {'waits in vain' if what else 'is held'} ({shown}): {fix}"
        yield Noticed(at=now, key=key, entry=entry.id, attempt=attempt.number, message=message)
    if what and settings.cancel_hopeless:
        text = f"it would wait for ever ({shown}): {fix}"
        mode = ErrorMode.CANCELLED.value
        yield CancelAsked(at=now, entry=entry.id, attempt=attempt.number, by="pending", mode=mode, reason=text)
