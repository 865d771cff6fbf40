"""Finished sessions on disk, as a monitor leaves them, without any job having run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from oellm_bench.clock import utc_text
from oellm_bench.core.events import Decided, Ended, Event, Intended, Selected, SessionFinished, Submitted
from oellm_bench.core.plan import Plan, PlannedEntry, to_text
from oellm_bench.core.result import EntryResult, ErrorMode
from oellm_bench.fileio import atomic_write_json, atomic_write_text
from oellm_bench.session import SCHEMA_VERSION, Session, read_session, remember
from oellm_bench.state.journal import Journal

DAY_S = 86400.0
MACHINE = {"cpu": {"model": "CPU", "logical": 8}, "memory_bytes": 16 << 30, "gpus": []}

Metrics = Mapping[str, Any]


def record(
    base: Path,
    groups: Mapping[str, Sequence[Metrics | ErrorMode]],
    *,
    day: int = 0,
    machine: Mapping[str, Any] | None = None,
    **session_fields: Any,
) -> Session:
    """Write a session of project `p` of that day: the metrics of each repetition by group, or how it failed."""
    folder = base / f"p_day{day:03}"
    entries = [_entry(group, number, index) for index, (group, number) in enumerate(_repetitions(groups))]
    outcomes = dict(zip((entry.id for entry in entries), (o for found in groups.values() for o in found), strict=True))
    plan = Plan(project="p", fingerprint="f", entries=tuple(entries), watch=())
    created_at = 1_800_000_000 + day * DAY_S
    session = Session(
        id=folder.name,
        session8=f"{day:08x}",
        project="p",
        fingerprint="f",
        session_dir=str(folder),
        state_dir=str(base / ".oellm-bench"),
        created_at=created_at,
        created=utc_text(created_at),
        entries=len(entries),
        scheduler={"class_name": "FakeSlurmClient"},
        sinks={},
        max_parallel=None,
        versions={"oellm_bench": "1", "python": "3.11"},
        git={"commit": f"{day:<040}"},
        command_line=(),
        **session_fields,
    )
    events: list[Event] = [Selected(at=created_at, entries=tuple(outcomes))]
    for entry in entries:
        events += _life(entry, outcomes[entry.id], created_at)
        _write_results(session, entry, outcomes[entry.id])
        if machine is not None or MACHINE:
            atomic_write_json(session.layout.entry(entry.name).artifacts / "sys-env.json", machine or MACHINE)
    events.append(SessionFinished(at=created_at, passed=0, failed=0))
    atomic_write_text(session.layout.sweep, to_text(plan))
    Journal(session.layout.journal).append(events)
    atomic_write_json(session.layout.session, {"schema_version": SCHEMA_VERSION, **asdict(session)})
    remember(folder)
    return read_session(folder)


def _repetitions(groups: Mapping[str, Sequence[Metrics | ErrorMode]]) -> list[tuple[str, int]]:
    return [(group, number) for group, found in groups.items() for number in range(1, len(found) + 1)]


def _entry(group: str, number: int, index: int) -> PlannedEntry:
    name = f"{group}_r{number}"
    return PlannedEntry(
        index=index,
        id=f"{index:08}",
        name=name,
        group=group,
        parameters={"repetition": number},
        argv=("true",),
        timeout_s=1.0,
        script=f"scripts/{name}.sbatch",
    )


def _life(entry: PlannedEntry, outcome: Metrics | ErrorMode, at: float) -> list[Event]:
    mode = outcome if isinstance(outcome, ErrorMode) else ErrorMode.SUCCESS
    return [
        Intended(at=at, token=entry.id, entries=(entry.id,), attempt=1, timeout_s=1.0),
        Submitted(at=at, token=entry.id, job_id="1"),
        Ended(at=at, entry=entry.id, attempt=1, mode=mode.value, reason="", returncode=0),
        Decided(at=at, entry=entry.id, attempt=1, restart=False, reason="", policy=""),
    ]


def _write_results(session: Session, entry: PlannedEntry, outcome: Metrics | ErrorMode) -> None:
    metrics = {} if isinstance(outcome, ErrorMode) else outcome
    result = EntryResult(
        name=entry.name,
        id=entry.id,
        attempt=1,
        success=not isinstance(outcome, ErrorMode),
        error_mode=outcome.value if isinstance(outcome, ErrorMode) else ErrorMode.SUCCESS.value,
        metrics=metrics,
    )
    atomic_write_json(session.layout.entry(entry.name).attempt(1).results, result.to_document())
