"""What squeue, sacct and scontrol print, as values: pure.

Formats and their traps were measured on Slurm 22.05: -O cuts at its width, neither command escapes its
separator, sacct calls a job that is only seconds old `allocation`.
"""

from __future__ import annotations

import calendar
import os
import re
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from oellm_bench.core.job import JobId, JobState, JobStatus
from oellm_bench.schedulers.base import Partition
from oellm_bench.units import parse_memory, parse_slurm_time

_SEPARATOR = "\x1f"
_QUEUE_FIELDS = (
    ("Name", 120),
    ("JobArrayID", 60),
    ("State", 40),
    ("NodeList", 2000),
    ("SubmitTime", 40),
    ("StartTime", 40),
    ("EndTime", 40),
    ("TimeLimit", 40),
    ("RestartCnt", 20),
    ("exit_code", 20),
    ("Reason", 400),
)
_ACCOUNTING_FIELDS = (
    "JobID",
    "State",
    "ExitCode",
    "NodeList",
    "Submit",
    "Start",
    "End",
    "TimelimitRaw",
    "MaxRSS",
    "AllocTRES",
    "JobName",
)
_RANGE = re.compile(r"(?P<job>\d+)_\[(?P<list>\d+(?:-\d+(?::\d+)?)?(?:,\d+(?:-\d+(?::\d+)?)?)*)(?:%\d+)?\]")
_CAUSES = (JobState.NODE_FAIL, JobState.BOOT_FAIL, JobState.OUT_OF_MEMORY, JobState.PREEMPTED, JobState.TIMEOUT)
_NO_NODES = ("None assigned", "(null)")


@dataclass(frozen=True)
class AccountingRow:
    """One job or array task of sacct's answer, its steps taken in."""

    status: JobStatus
    is_named: bool


def squeue_argv() -> tuple[str, ...]:
    """Return the one call for everything of this user's that the controller still remembers."""
    fields = ",".join(f"{name}:{width}{_SEPARATOR}" for name, width in _QUEUE_FIELDS)
    return ("squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", f"--Format={fields}")


def sacct_argv(since: float) -> tuple[str, ...]:
    """Return the one call for everything of this user's that accounting knows since then (epoch seconds).

    Steps are asked for too: only they know the peak memory. JobID, never JobIDRaw, which differs for tasks.
    """
    start = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(max(since, 0)))
    return (
        "sacct",
        "--noheader",
        "--parsable2",
        f"--delimiter={_SEPARATOR}",
        f"--uid={os.getuid()}",
        f"--starttime={start}",
        f"--format={','.join(_ACCOUNTING_FIELDS)}",
    )


def parse_squeue(text: str, prefix: str) -> list[JobStatus]:
    """Return the rows whose name begins with `prefix`; a row that does not parse is left out."""
    names = [name for name, _ in _QUEUE_FIELDS]
    rows = []
    for line in text.splitlines():
        values = [value.strip() for value in line.split(_SEPARATOR)][: len(names)]
        if len(values) == len(names) and values[0].startswith(prefix):
            status = _queue_status(dict(zip(names, values, strict=True)))
            if status is not None:
                rows.append(status)
    return _joined(rows)


def _joined(rows: Iterable[JobStatus]) -> list[JobStatus]:
    """Return one row per job: the components of a heterogeneous job have the same id, the first of them leads.

    What ended one component ends them all: the others are only cancelled along with it.
    """
    found: dict[JobId, JobStatus] = {}
    for row in rows:
        leader = found.setdefault(row.job_id, row)
        if leader is not row:
            ended = leader.state.is_terminal and leader.state not in _CAUSES and row.state in _CAUSES
            cause = row.state if ended else leader.state
            nodes = ",".join(filter(None, (leader.nodes, row.nodes)))
            found[row.job_id] = replace(leader, state=cause, nodes=nodes)
    return list(found.values())


def _queue_status(row: Mapping[str, str]) -> JobStatus | None:
    job_id = _job_id(row["JobArrayID"])
    if job_id is None:
        return None
    state = JobState.parse(row["State"])
    begun = state not in (JobState.PENDING, JobState.REQUEUED, JobState.REQUEUE_HOLD)
    code, signal = _wait_status(row["exit_code"]) if state.is_terminal else (None, None)
    return JobStatus(
        job_id=job_id,
        name=row["Name"],
        state=state,
        exit_code=code,
        signal=signal,
        reason=row["Reason"],
        nodes=row["NodeList"],
        restarts=int(row["RestartCnt"]) if row["RestartCnt"].isdigit() else 0,
        submitted_at=_time(row["SubmitTime"]),
        # Of a pending job this is the planned start.
        started_at=_time(row["StartTime"]) if begun else None,
        ended_at=_time(row["EndTime"]) if state.is_terminal else None,
        time_limit_s=_limit(row["TimeLimit"]),
    )


def parse_sacct(text: str, prefix: str) -> dict[JobId, AccountingRow]:
    """Return what accounting says, by job id; jobs of other names are kept where they may be too young to have one.

    A row like `47_[0-1%2]` stands for tasks that never started: it counts for those without a row of their own.
    One whose list was cut short (`47_[0,2,...]`) says nothing about any task.
    """
    rows: dict[JobId, AccountingRow] = {}
    ranges: list[tuple[JobId, Mapping[str, str]]] = []
    for line in text.splitlines():
        # The name comes last and may hold anything, the separator included.
        values = line.split(_SEPARATOR, len(_ACCOUNTING_FIELDS) - 1)
        if len(values) != len(_ACCOUNTING_FIELDS):
            continue
        row = dict(zip(_ACCOUNTING_FIELDS, values, strict=True))
        base, dot, _ = row["JobID"].partition(".")
        job_id = _job_id(base)
        if job_id is None:
            ranges += [] if dot else [(task, row) for task in _tasks_of_range(base)]
        elif dot:
            _take_in_step(rows, job_id, row)
        elif row["JobName"].startswith(prefix) or row["JobName"] == "allocation":
            status, other = _accounting_status(job_id, row), rows.get(job_id)
            (status,) = _joined((status,) if other is None else (other.status, status))
            rows[job_id] = AccountingRow(status, row["JobName"] != "allocation")
    for job_id, listed in ranges:
        # What still waits is for the controller to tell: this row may speak of tasks that are cancelled by now.
        if listed["JobName"].startswith(prefix) and JobState.parse(listed["State"]).is_terminal:
            rows.setdefault(job_id, AccountingRow(_accounting_status(job_id, listed), is_named=True))
    return rows


def _tasks_of_range(text: str) -> list[JobId]:
    """Return the tasks of `47_[0-3,7%2]`; none where the list cannot be read whole."""
    match = _RANGE.fullmatch(text)
    if match is None:
        return []
    tasks: list[int] = []
    for part in match["list"].split(","):
        first, _, last = part.partition("-")
        last, _, step = last.partition(":")
        tasks += range(int(first), int(last or first) + 1, int(step or 1))
    return [JobId(int(match["job"]), task) for task in tasks]


def _take_in_step(rows: dict[JobId, AccountingRow], job_id: JobId, row: Mapping[str, str]) -> None:
    known, rss = rows.get(job_id), _memory(row["MaxRSS"])
    if known is not None and rss is not None:
        peak = max(rss, known.status.max_rss_bytes or 0)
        rows[job_id] = replace(known, status=replace(known.status, max_rss_bytes=peak))


def _accounting_status(job_id: JobId, row: Mapping[str, str]) -> JobStatus:
    code, _, signal = row["ExitCode"].partition(":")
    words = row["State"].split()
    return JobStatus(
        job_id=job_id,
        name=row["JobName"],
        in_queue=False,
        state=JobState.parse(row["State"]),
        exit_code=int(code) if code.isdigit() else None,
        signal=int(signal) if signal.isdigit() else None,
        nodes="" if row["NodeList"] in _NO_NODES else row["NodeList"],
        submitted_at=_time(row["Submit"]),
        started_at=_time(row["Start"]),
        ended_at=_time(row["End"]),
        time_limit_s=int(row["TimelimitRaw"]) * 60 if row["TimelimitRaw"].isdigit() else None,
        cancelled_by=words[-1] if words[1:2] == ["by"] else "",
        billed_tres=row["AllocTRES"],
    )


def merge(queue: Collection[JobStatus], accounting: Mapping[JobId, AccountingRow]) -> list[JobStatus]:
    """Return one row per job: the controller's word on the living, accounting's on the ended.

    An ended job that accounting does not know as ended yet is reported from the controller's memory.
    """
    merged: list[JobStatus] = []
    seen = set()
    for row in queue:
        seen.add(row.job_id)
        told = accounting.get(row.job_id)
        if told is None:
            merged.append(row)
        elif not row.state.is_terminal or not told.status.state.is_terminal:
            merged.append(replace(row, max_rss_bytes=told.status.max_rss_bytes, billed_tres=told.status.billed_tres))
        else:
            # sacct masks exit codes with 127 and has no count of restarts: the controller knows better.
            merged.append(
                replace(
                    told.status,
                    name=row.name,
                    restarts=row.restarts,
                    reason=row.reason,
                    exit_code=told.status.exit_code if row.exit_code is None else row.exit_code,
                )
            )
    merged += [row.status for job_id, row in accounting.items() if row.is_named and job_id not in seen]
    return merged


def max_array_size(text: str) -> int:
    """Return MaxArraySize from `scontrol show config`, SLURM's default where it is not there."""
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", text, re.MULTILINE)
    return int(match[1]) if match else 1001


def parse_partitions(text: str) -> Iterator[Partition]:
    """Yield what `scontrol --oneliner show partition` says."""
    for line in text.splitlines():
        row = dict(word.partition("=")[::2] for word in line.split())
        if "PartitionName" in row:
            yield Partition(
                name=row["PartitionName"],
                is_default=row.get("Default") == "YES",
                is_up=row.get("State", "UP") == "UP",
                max_time_s=_limit(row.get("MaxTime", "")),
                max_nodes=int(row["MaxNodes"]) if row.get("MaxNodes", "").isdigit() else None,
                total_nodes=int(row["TotalNodes"]) if row.get("TotalNodes", "").isdigit() else 0,
            )


def _wait_status(text: str) -> tuple[int | None, int | None]:
    """Return exit code and signal from the raw wait status that squeue prints: exit 3 is 768, SIGTERM 15."""
    if not text.isdigit():
        return None, None
    status = int(text)
    return status >> 8 & 0xFF, status & 0x7F


def _job_id(text: str) -> JobId | None:
    try:
        return JobId.parse(text)
    except ValueError:
        return None


def _time(text: str) -> float | None:
    try:
        return float(calendar.timegm(time.strptime(text, "%Y-%m-%dT%H:%M:%S")))
    except ValueError:
        return None


def _limit(text: str) -> int | None:
    try:
        return parse_slurm_time(text)
    except ValueError:
        return None


def _memory(text: str) -> int | None:
    try:
        return parse_memory(text) if text and text != "0" else None
    except ValueError:
        return None
