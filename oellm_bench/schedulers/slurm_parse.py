"""What squeue and sacct print, as values: pure."""

from __future__ import annotations

import calendar
import os
import re
import time

from oellm_bench.core.job import JobId, JobState, JobStatus
from oellm_bench.units import parse_slurm_time

_SEPARATOR = "\x1f"
# -O cuts at the width and does not escape, so widths are generous and the name, which is ours, comes first.
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
    ("Reason", 400),
)
_ACCOUNTING_FIELDS = ("JobName", "JobID", "State", "ExitCode", "NodeList", "Submit", "Start", "End", "TimelimitRaw")


def squeue_argv() -> tuple[str, ...]:
    """Return the one call for everything of this user's that the controller still remembers."""
    fields = ",".join(f"{name}:{width}{_SEPARATOR}" for name, width in _QUEUE_FIELDS)
    return ("squeue", "--noheader", "--array", "--states=all", f"--user={os.getuid()}", f"--Format={fields}")


def sacct_argv(since: float) -> tuple[str, ...]:
    """Return the one call for everything of this user's that accounting knows since then (epoch seconds)."""
    start = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(since))
    return (
        "sacct",
        "--noheader",
        "--parsable2",
        "--allocations",
        f"--delimiter={_SEPARATOR}",
        f"--uid={os.getuid()}",
        f"--starttime={start}",
        f"--format={','.join(_ACCOUNTING_FIELDS)}",
    )


def parse_squeue(text: str, prefix: str) -> list[JobStatus]:
    """Return the rows whose name begins with `prefix`; a row that does not parse is left out."""
    rows = []
    for line in text.splitlines():
        values = [value.strip() for value in line.split(_SEPARATOR)]
        if len(values) < len(_QUEUE_FIELDS) or not values[0].startswith(prefix):
            continue
        row = dict(zip((name for name, _ in _QUEUE_FIELDS), values, strict=False))
        job_id = _job_id(row["JobArrayID"])
        state = JobState.parse(row["State"])
        if job_id is None or state.is_terminal:
            continue  # of an ended job accounting knows more: exit code and signal
        rows.append(
            JobStatus(
                job_id=job_id,
                name=row["Name"],
                state=state,
                reason=row["Reason"],
                nodes=row["NodeList"],
                restarts=int(row["RestartCnt"] or 0) if row["RestartCnt"].isdigit() else 0,
                submitted_at=_time(row["SubmitTime"]),
                started_at=_time(row["StartTime"]) if state is not JobState.PENDING else None,
                time_limit_s=_limit(row["TimeLimit"]),
            )
        )
    return rows


def parse_sacct(text: str, prefix: str) -> list[JobStatus]:
    """Return the rows whose name begins with `prefix`; ranges of tasks not yet started are left to squeue."""
    rows = []
    for line in text.splitlines():
        values = line.split(_SEPARATOR)
        if len(values) != len(_ACCOUNTING_FIELDS) or not values[0].startswith(prefix):
            continue
        row = dict(zip(_ACCOUNTING_FIELDS, values, strict=True))
        job_id = _job_id(row["JobID"])
        if job_id is None:
            continue
        code, _, signal = row["ExitCode"].partition(":")
        words = row["State"].split()
        nodes = row["NodeList"] if row["NodeList"] not in ("None assigned", "(null)") else ""
        rows.append(
            JobStatus(
                job_id=job_id,
                name=row["JobName"],
                state=JobState.parse(row["State"]),
                exit_code=int(code) if code.isdigit() else None,
                signal=int(signal) if signal.isdigit() and signal != "0" else None,
                nodes=nodes,
                submitted_at=_time(row["Submit"]),
                started_at=_time(row["Start"]),
                ended_at=_time(row["End"]),
                time_limit_s=int(row["TimelimitRaw"]) * 60 if row["TimelimitRaw"].isdigit() else None,
                cancelled_by=words[-1] if len(words) == 3 else "",
            )
        )
    return rows


def max_array_size(text: str) -> int:
    """Return MaxArraySize from `scontrol show config`, SLURM's default where it is not there."""
    match = re.search(r"^MaxArraySize\s*=\s*(\d+)", text, re.MULTILINE)
    return int(match[1]) if match else 1001


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
