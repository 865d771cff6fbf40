"""Misbehaviour on request: what can be asked for, when it is due, and what it does.

| kind            | arguments        | effect                                                       |
| --------------- | ---------------- | ------------------------------------------------------------ |
| node_fail       | node, down_s (0) | its jobs' processes are killed: NODE_FAIL, or requeued       |
| preempt         | job              | TERM, grace, KILL: PREEMPTED, or requeued                    |
| oom             | job              | KILL: OUT_OF_MEMORY 0:125                                    |
| sbatch_timeout  | count (1)        | the next submissions work, but the client hears of a timeout |
| outage          | seconds          | submit, cancel and the queue view do not answer              |
| accounting_lag  | seconds          | the accounting view is that much behind, from now on         |
| accounting_down | seconds          | the accounting view does not answer                          |

All take after_s (0): how much later, counted from the call or, in a configuration, from the first
submission. `job` is an id (`12`, `12_3`) or a name; a job that does not run yet is waited for.
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from oellm_bench.schedulers.embedded.stops import Stop
from oellm_bench.schedulers.embedded.store import Job, select_jobs

_ARGUMENTS: dict[str, tuple[str, ...]] = {
    "node_fail": ("node", "down_s"),
    "preempt": ("job",),
    "oom": ("job",),
    "sbatch_timeout": ("count",),
    "outage": ("seconds",),
    "accounting_lag": ("seconds",),
    "accounting_down": ("seconds",),
}
_REQUIRED = ("node", "job", "seconds")
_ACTS = {"node_fail": Stop.NODE_FAIL, "preempt": Stop.PREEMPT, "oom": Stop.OOM}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One misbehaviour; `target` is a node or job, `seconds` a duration or delay, `count` how often."""

    kind: str
    target: str = ""
    seconds: float = 0.0
    count: int = 1
    after_s: float = 0.0


def read_fault(given: Mapping[str, Any]) -> Fault:
    """Return the fault for `{kind: ..., argument: ...}`. Raises ValueError that says what is wrong."""
    kind = str(given.get("kind", ""))
    if kind not in _ARGUMENTS:
        raise ValueError(f"unknown fault '{kind}'; valid: {', '.join(_ARGUMENTS)}")
    arguments = _ARGUMENTS[kind]
    for name in given.keys() - {"kind", "after_s", *arguments}:
        raise ValueError(f"fault '{kind}' takes no '{name}'; valid: {', '.join((*arguments, 'after_s'))}")
    for name in arguments:
        if name in _REQUIRED and name not in given:
            raise ValueError(f"fault '{kind}' needs '{name}'")
    return Fault(
        kind=kind,
        target=str(given.get("node", given.get("job", ""))),
        seconds=_number(given, "down_s" if kind == "node_fail" else "seconds"),
        count=int(_number(given, "count", default=1)),
        after_s=_number(given, "after_s"),
    )


def install(connection: sqlite3.Connection, fault: Fault, *, origin: str | None, now: float) -> None:
    """Keep a fault until it is due; one of the same `origin` (a place in a configuration) only once."""
    connection.execute(
        "INSERT OR IGNORE INTO fault (origin, kind, target, due_at, seconds, remaining) VALUES (?,?,?,?,?,?)",
        (origin, fault.kind, fault.target, now + fault.after_s, fault.seconds, fault.count),
    )


def is_active(connection: sqlite3.Connection, kind: str, now: float) -> bool:
    """Tell whether a fault that lasts is going on."""
    row = connection.execute(
        "SELECT 1 FROM fault WHERE kind = ? AND due_at <= ? AND ? < due_at + seconds LIMIT 1",
        (kind, now, now),
    ).fetchone()
    return row is not None


def accounting_lag_s(connection: sqlite3.Connection, now: float) -> float:
    """Return how far the accounting view is behind: what the youngest such fault says."""
    row = connection.execute(
        "SELECT seconds FROM fault WHERE kind = 'accounting_lag' AND due_at <= ? ORDER BY id DESC LIMIT 1",
        (now,),
    ).fetchone()
    return 0.0 if row is None else float(row[0])


def take_one(connection: sqlite3.Connection, kind: str, now: float) -> bool:
    """Use up one of a counted fault; call in a transaction. Tells whether there was one."""
    row = connection.execute(
        "SELECT id FROM fault WHERE kind = ? AND due_at <= ? AND remaining > 0 LIMIT 1", (kind, now)
    ).fetchone()
    if row is not None:
        connection.execute("UPDATE fault SET remaining = remaining - 1 WHERE id = ?", row)
    return row is not None


def down_nodes(connection: sqlite3.Connection, now: float) -> set[str]:
    """Return the nodes that have failed and not come back yet."""
    rows = connection.execute(
        "SELECT target FROM fault WHERE kind = 'node_fail' AND due_at <= ? AND ? < due_at + seconds",
        (now, now),
    )
    return {row[0] for row in rows}


def strike(connection: sqlite3.Connection, now: float) -> None:
    """Mark the running jobs that a due fault hits as to be stopped; call in a transaction."""
    due = connection.execute(
        "SELECT id, kind, target, due_at FROM fault WHERE remaining > 0 AND due_at <= ? ORDER BY due_at",
        (now,),
    ).fetchall()
    for number, kind, target, due_at in due:
        if kind in _ACTS:
            hit = [job for job in _running(connection) if _is_hit(job, kind, target, due_at)]
            for job in hit:
                connection.execute(
                    "UPDATE job SET stop = ? WHERE raw_id = ? AND stop = ''", (_ACTS[kind].value, job.raw_id)
                )
            if hit or kind == "node_fail":
                connection.execute("UPDATE fault SET remaining = 0 WHERE id = ?", (number,))


def next_event(connection: sqlite3.Connection, now: float) -> float:
    """Return when (epoch seconds) a fault becomes due or a node comes back; infinity for never."""
    row = connection.execute(
        "SELECT min(at) FROM (SELECT due_at AS at FROM fault UNION ALL"
        " SELECT due_at + seconds FROM fault WHERE kind = 'node_fail') WHERE at > ?",
        (now,),
    ).fetchone()
    return math.inf if row[0] is None else float(row[0])


def _running(connection: sqlite3.Connection) -> list[Job]:
    return select_jobs(connection, "ended_at IS NULL AND state = 'RUNNING'")


def _is_hit(job: Job, kind: str, target: str, due_at: float) -> bool:
    if kind == "node_fail":  # a job that started after the failure is not hit, however late we look
        return target in json.loads(job.allocation) and (job.started_at or 0) <= due_at
    return target in (str(job.job_id), str(job.raw_id), str(job.id), job.name)


def _number(given: Mapping[str, Any], name: str, default: float = 0) -> float:
    try:
        value = float(given.get(name, default))
    except (TypeError, ValueError):
        value = -1
    if not 0 <= value < math.inf:
        raise ValueError(f"'{name}' of a fault is {given[name]!r}; give a number from 0 up")
    return value
