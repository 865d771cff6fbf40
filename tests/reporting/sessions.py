"""Sessions on disk as the monitor leaves them, for what reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from oellm_bench.core.events import Decided, Ended, Intended, Noticed, Observed, Selected, SessionFinished, Submitted
from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.plan import Plan, PlannedEntry, to_text
from oellm_bench.core.requirement import Requirement
from oellm_bench.core.result import EntryResult
from oellm_bench.session import SCHEMA_VERSION, Session

BEGUN = 1_790_000_000.0
DAY = 86_400.0


@dataclass(frozen=True, kw_only=True)
class Ran:
    """An entry and what became of it: the error modes of its attempts, `` for one that still runs."""

    name: str
    modes: tuple[str, ...] = ("success",)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    requirements: tuple[Requirement, ...] = ()
    not_met: tuple[str, ...] = ()
    reason: str = ""
    group: str = ""
    expected_failure: str = ""
    stdout: str = ""
    stderr: str = ""
    seconds: float = 60.0
    waited: float = 20.0
    machine: Mapping[str, Any] = field(default_factory=dict)
    packages: Sequence[str] = ()
    after: Sequence[str] = ()


def write_session(folder: Path, *entries: Ran, at: float = BEGUN, notice: str = "", **about: Any) -> Session:
    """Write a session with that id as its folder's name; it is finished where every entry is."""
    layout = SessionLayout(folder)
    folder.mkdir(parents=True)
    ids = {ran.name: f"id{number:06}" for number, ran in enumerate(entries)}
    planned = tuple(_planned(number, ran, ids) for number, ran in enumerate(entries))
    layout.sweep.write_text(to_text(Plan(project="nightly", fingerprint="f", entries=planned)))
    session = Session(
        **{
            "id": folder.name,
            "session8": "00000000",
            "project": "nightly",
            "fingerprint": "f",
            "session_dir": str(folder),
            "state_dir": str(folder.parent / ".oellm-bench"),
            "created_at": at,
            "created": "",
            "entries": len(entries),
            "scheduler": {"class_name": "FakeSlurmClient"},
            "sinks": {},
            "max_parallel": None,
            "versions": {"oellm_bench": "1.0", "python": "3.11.7"},
            "git": {"commit": "abcdef0123"},
            "command_line": ("oellm-bench", "run"),
            "environment": {"host": "login1", "platform": "Linux"},
            **about,
        }
    )
    layout.session.write_text(json.dumps({"schema_version": SCHEMA_VERSION, **asdict(session)}))
    store = session.store()
    with store.locked():
        store.append(Selected(at=at, entries=tuple(entry.id for entry in planned)))
        for number, (entry, ran) in enumerate(zip(planned, entries, strict=True)):
            _write_attempts(store, layout, entry, ran, at + number)
        if notice:
            store.append(Noticed(at=at, key="k", message=notice, entry=planned[0].id if planned else ""))
        finished = all("" not in ran.modes for ran in entries)
        if finished:
            store.append(SessionFinished(at=at + DAY, passed=0, failed=0))
    if finished:
        store.archive()
    return session


def _planned(number: int, ran: Ran, ids: Mapping[str, str]) -> PlannedEntry:
    return PlannedEntry(
        index=number,
        id=ids[ran.name],
        after=tuple(ids[name] for name in ran.after),
        name=ran.name,
        group=ran.group or ran.name,
        parameters=ran.parameters,
        requirements=ran.requirements,
        expected_failure=ran.expected_failure,
        argv=("true",),
        timeout_s=100.0,
        script="s",
    )


def _write_attempts(store: Any, layout: SessionLayout, entry: PlannedEntry, ran: Ran, at: float) -> None:
    for number, mode in enumerate(ran.modes, 1):
        token, start = f"t{entry.id}-{number}", at + ran.waited
        end = start + ran.seconds
        store.append(
            Intended(at=at, token=token, entries=(entry.id,), attempt=number, timeout_s=100.0),
            Submitted(at=at, token=token, job_id=f"{entry.index + 1}{number}"),
            Observed(
                at=start,
                entry=entry.id,
                attempt=number,
                state="RUNNING" if not mode else "COMPLETED" if mode == "success" else "FAILED",
                job_id=f"{entry.index + 1}{number}",
                nodes="node1",
                started_at=start,
                ended_at=end if mode else None,
            ),
        )
        files = layout.entry(entry.name).attempt(number)
        files.root.mkdir(parents=True, exist_ok=True)
        files.stdout.write_bytes(ran.stdout.encode("utf-8", "surrogatepass"))
        files.stderr.write_text(ran.stderr)
        if mode:
            _write_result(layout, entry, ran, number, mode)
            last = number == len(ran.modes)
            store.append(
                Ended(at=end, entry=entry.id, attempt=number, mode=mode, reason=ran.reason),
                Decided(
                    at=end, entry=entry.id, attempt=number, restart=not last, reason="restart" if not last else mode
                ),
            )
        at = end
    _write_artifacts(layout, entry, ran)


def _write_result(layout: SessionLayout, entry: PlannedEntry, ran: Ran, number: int, mode: str) -> None:
    result = EntryResult(
        name=entry.name,
        id=entry.id,
        attempt=number,
        success=mode == "success",
        error_mode=mode,
        reason=ran.reason,
        metrics=ran.metrics,
        exec_time_s=ran.seconds,
        requirements_not_met=ran.not_met,
        resources={"cpu_s": 12.5, "peak_rss_bytes": 3 << 30},
    )
    text = json.dumps(result.to_document())
    for path in (layout.entry(entry.name).attempt(number).results, layout.entry(entry.name).results):
        path.write_text(text)


def _write_artifacts(layout: SessionLayout, entry: PlannedEntry, ran: Ran) -> None:
    folder = layout.entry(entry.name).artifacts
    folder.mkdir(exist_ok=True)
    if ran.machine:
        (folder / "sys-env.json").write_text(json.dumps(ran.machine))
    if ran.packages:
        (folder / "pip-freeze.txt").write_text("\n".join(ran.packages))
