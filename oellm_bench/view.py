"""The state of a session as people and tools see it: pure, from plan and events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from oellm_bench.core.expectation import is_as_expected
from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.core.result import EntryResult, ErrorMode
from oellm_bench.errors import StateError
from oellm_bench.fileio import read_json
from oellm_bench.monitoring.heartbeat import read_heartbeat, used
from oellm_bench.session import Session
from oellm_bench.state.model import AttemptState, EntryState, SessionState

_MOST_NOTICES = 100  # in the snapshot, the latest; the sinks have them all


def entry_state(entry: EntryState | None) -> str:
    """Return the one word that `status` shows: the scheduler's state, or what became of the entry."""
    if entry is None:
        return "PLANNED"
    attempt = entry.last
    if entry.over and entry.given_up is not None:
        return "FAILED"
    if entry.over and (attempt is None or attempt.mode is None or attempt.mode is ErrorMode.CANCELLED):
        return "CANCELLED"
    if entry.over and attempt is not None and attempt.mode is not None:
        return "PASSED" if attempt.mode is ErrorMode.SUCCESS else "FAILED"
    if entry.restart_due:
        return "RESTARTING"
    if attempt is not None and attempt.refused:
        return "REFUSED"
    if attempt is None:
        return "WAITING"
    if attempt.unclear_since is not None:
        return "UNCLEAR"
    if attempt.missing_since is not None:
        return "MISSING"
    return attempt.state.value if attempt.job_id else "SUBMITTING"


def entry_row(planned: PlannedEntry, entry: EntryState | None, now: float) -> dict[str, Any]:
    """Return one row of `status --json`."""
    attempt = entry.last if entry is not None else None
    mode = attempt.mode if attempt is not None else entry.given_up if entry is not None else None
    return {
        "name": planned.name,
        "id": planned.id,
        "index": planned.index,
        "state": entry_state(entry),
        "attempt": attempt.number if attempt else 0,
        "job_id": attempt.job_id if attempt else "",
        "node": attempt.nodes if attempt else "",
        "error_mode": mode.value if mode is not None else "",
        "reason": _reason(entry, attempt),
        "cause": attempt.cause if attempt else "",
        "advice": attempt.advice if attempt else "",
        "elapsed_s": _elapsed(attempt, now),
        "time_limit_s": attempt.time_limit_s if attempt else None,
        "max_rss_bytes": attempt.max_rss_bytes if attempt else None,
        "billed_tres": attempt.billed_tres if attempt else "",
        "last_signal": attempt.signals[-1]["name"] if attempt and attempt.signals else "",
        "restarts": max(len(entry.attempts) - 1, 0) if entry else 0,
    }


def session_view(session: Session, plan: Plan, state: SessionState, now: float) -> dict[str, Any]:
    """Return the snapshot of a session for monitor/state.json and `status`."""
    return {
        "session": session.id,
        "session_dir": session.session_dir,
        "updated_at": now,
        "finished": state.finished,
        "actions": {
            "done": sum(action.done for action in state.actions.values()),
            "not_done": sum(not action.done for action in state.actions.values()),
        },
        "notices": [
            {"at": notice.at, "entry": plan.by_id[notice.entry].name if notice.entry else "", "message": notice.message}
            for notice in [*state.notices.values()][-_MOST_NOTICES:]
        ],
        "entries": [entry_row(planned, state.entries.get(planned.id), now) for planned in plan.entries],
    }


def with_heartbeats(view: Mapping[str, Any], layout: SessionLayout, now: float) -> dict[str, Any]:
    """Return the snapshot with what running entries tell of themselves: progress, and the heartbeat's age."""
    rows = []
    for row in view["entries"]:
        beat: Mapping[str, Any] = {}
        if row["state"] in ("RUNNING", "FAILED"):  # of what has passed nobody asks how far it got
            beat = read_heartbeat(layout.entry(row["name"]).attempt(row["attempt"]).heartbeat, row["attempt"])
        age_s = round(max(0.0, now - beat["at"]), 3) if beat and row["state"] == "RUNNING" else None
        rows.append({**row, "progress": beat.get("progress", {}), "heartbeat_age_s": age_s})
    return {**view, "entries": rows}


def final_result(planned: PlannedEntry, entry: EntryState, layout: SessionLayout) -> EntryResult:
    """Return the result of an entry that is over: the job's own, under the monitor's verdict.

    An attempt that left no results.json of its own gets one with the verdict only.
    """
    attempt = entry.last
    if attempt is None or attempt.mode is None:
        return EntryResult(
            name=planned.name,
            id=planned.id,
            attempt=attempt.number if attempt else 0,
            success=False,
            error_mode=(entry.given_up or ErrorMode.CANCELLED).value,
            reason=entry.decision,
            parameters=planned.parameters,
        )
    success = attempt.mode is ErrorMode.SUCCESS
    own = read_result(layout.entry(planned.name).attempt(attempt.number).results, attempt.number)
    if own is not None:
        return replace(own, success=success, error_mode=attempt.mode.value, reason=attempt.reason or own.reason)
    return EntryResult(
        name=planned.name,
        id=planned.id,
        attempt=attempt.number,
        success=success,
        error_mode=attempt.mode.value,
        reason=attempt.reason,
        returncode=attempt.returncode,
        started_at=attempt.started_at,
        ended_at=attempt.ended_at,
        parameters=planned.parameters,
        resources=used(read_heartbeat(layout.entry(planned.name).attempt(attempt.number).heartbeat, attempt.number)),
    )


def went_as_expected(plan: Plan, state: SessionState) -> bool:
    """Tell whether every entry that was selected is over and ended as it was expected to."""
    return all(entry.over and _is_as_expected(plan, entry) for entry in state.entries.values())


def ended_badly(plan: Plan, state: SessionState) -> list[str]:
    """Return the ids of the entries that are over and did not end as expected."""
    return [entry.id for entry in state.entries.values() if entry.over and not _is_as_expected(plan, entry)]


def not_selected(plan: Plan, state: SessionState) -> list[str]:
    """Return the ids of the entries that were never submitted nor meant to be."""
    return [entry.id for entry in plan.entries if entry.id not in state.entries]


def _is_as_expected(plan: Plan, entry: EntryState) -> bool:
    last = entry.last
    if last is None or last.mode is None or entry.given_up is not None:
        return False
    return is_as_expected(plan.by_id[entry.id].expected_failure, last.mode.value)


def read_result(path: Path, attempt: int) -> EntryResult | None:
    """Return results.json if it is of this attempt, None where there is none that can be read."""
    try:
        document: Mapping[str, Any] = read_json(path)
        result = EntryResult.from_document(document)
    except (StateError, TypeError, KeyError):
        return None
    return result if result.attempt == attempt else None


def _reason(entry: EntryState | None, attempt: AttemptState | None) -> str:
    if attempt is None:
        return "" if entry is None else entry.decision or entry.gate_reason
    if attempt.mode is ErrorMode.SUCCESS:
        return ""
    if attempt.unclear_since is not None:
        return "sbatch gave no clear answer; the job is being looked up"
    if attempt.refused:
        return attempt.refused
    if attempt.mode is None:
        return attempt.scheduler_reason if attempt.scheduler_reason != "None" else ""
    decision = entry.decision if entry is not None and entry.decision != attempt.reason else ""
    note = "; ".join(filter(None, (attempt.advice, decision)))
    return f"{attempt.reason} ({note})" if note else attempt.reason


def _elapsed(attempt: AttemptState | None, now: float) -> float | None:
    if attempt is None or attempt.started_at is None:
        return None
    return round((attempt.ended_at or now) - attempt.started_at, 3)
