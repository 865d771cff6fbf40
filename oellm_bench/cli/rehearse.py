"""`monitor --dry-run`, and `monitor --log NAME=PATH`: what signals and states would lead to."""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from oellm_bench.actions.base import Occasion
from oellm_bench.assemble import make_monitor
from oellm_bench.cli.configuration import compose
from oellm_bench.cli.table import print_json
from oellm_bench.config.project import base_project
from oellm_bench.core.events import ActionQueued, CancelAsked, Decided, Event, Noticed
from oellm_bench.core.job import JobState
from oellm_bench.core.result import ErrorMode
from oellm_bench.errors import EXIT_DONE, EXIT_NOT_PASSED, UsageError
from oellm_bench.monitoring.classify import Evidence, classify
from oellm_bench.monitoring.log_tail import Cursor, read_new
from oellm_bench.monitoring.logs import scan_counted
from oellm_bench.monitoring.signals import SeenSignal
from oellm_bench.restart.base import Failure
from oellm_bench.restart.settings import decide
from oellm_bench.session import Session
from oellm_bench.shell import command_line, run
from oellm_bench.watch import WatchSettings, watch_settings

SCHEMA_VERSION = 1


def rehearse_session(session: Session, actions: Mapping[str, str], *, as_json: bool) -> int:
    """Print what the next cycle of a session would do; nothing is written, submitted, cancelled or run."""
    monitor = make_monitor(session, actions)
    events = monitor.rehearse()
    names = {entry.id: entry.name for entry in monitor.plan.entries}
    modes = {entry.id: entry.last.mode for entry in monitor.store.state.entries.values() if entry.last}
    queued = [
        {
            "entry": names[e.entry],
            "job_id": monitor.store.state.attempt(e.entry, e.attempt).job_id,
            "signal": e.id.rsplit(":", 1)[-1],
            "action": e.name,
            "argv": list(e.argv),
            "metadata": dict(e.metadata),
        }
        for e in events
        if isinstance(e, ActionQueued)
    ]
    decisions = [
        {
            **_decision(names[e.entry], modes.get(e.entry), e.policy, e.restart, e.reason),
            "job_id": monitor.store.state.attempt(e.entry, e.attempt).job_id,
        }
        for e in events
        if isinstance(e, Decided)
    ]
    others = [
        {"entry": names.get(e.entry, ""), "does": does}
        for e in events
        if isinstance(e, Noticed | CancelAsked) and (does := described(e))
    ]
    return _report(queued, decisions, others, as_json=as_json)


def rehearse_logs(args: argparse.Namespace) -> int:
    """Look through logs and states that were given by name, without a session.

    Prints the actions their signals ask for and the decisions their states lead to; without --dry-run the
    actions are run, one after the other. Returns 1 where one of them failed.
    """
    config = base_project(compose(args))
    settings = watch_settings(
        {"monitoring": asdict(config.monitoring), "restart": asdict(config.restart)}, dict(args.action)
    )
    jobs = _jobs(args)
    signals = {name: _signals(Path(path), settings) for name, path in args.log}
    actions = [
        {**row, "job_id": jobs.get(name, "")}
        for name, seen in signals.items()
        for row in _actions(name, seen, settings)
    ]
    decisions = [
        {**_state_decision(name, text, signals.get(name, []), settings), "job_id": jobs.get(name, "")}
        for name, text in args.slurm_state
    ]
    failed = 0 if args.dry_run else sum(not _ran(row, settings) for row in actions)
    _report(actions, decisions, (), as_json=args.json_output)
    return EXIT_NOT_PASSED if failed else EXIT_DONE


def _jobs(args: argparse.Namespace) -> dict[str, str]:
    """Return the job ids by name. Raises UsageError for a job of which nothing else was said."""
    known = {name for name, _ in (*args.log, *args.slurm_state)}
    for name, job in args.job:
        if name not in known:
            raise UsageError(
                f"--job {name}={job}: there is no --log and no --slurm-state of '{name}'; give one of them"
            )
    return dict(args.job)


def _signals(path: Path, settings: WatchSettings) -> list[SeenSignal]:
    if not path.is_file():
        raise UsageError(f"--log: no file '{path}'")
    found: list[SeenSignal] = []
    cursor, counts = Cursor(), Counter[str]()
    while chunk := read_new(path, cursor, final=True):
        found += scan_counted(settings.scanner, chunk, "log", counts, path)
        cursor = chunk.cursor
    return found


def _actions(entry: str, signals: Sequence[SeenSignal], settings: WatchSettings) -> list[dict[str, Any]]:
    return [_action(entry, signal, settings) for signal in signals if signal.action]


def _action(entry: str, signal: SeenSignal, settings: WatchSettings) -> dict[str, Any]:
    """Return what a signal asks for: a command as `argv`, anything else as `does`."""
    metadata = {**signal.metadata, **signal.values}
    row = {"entry": entry, "signal": signal.name, "action": signal.action, "argv": [], "metadata": metadata}
    action = settings.actions.get(signal.action)
    if action is None:
        return row
    occasion = Occasion(
        id=f"{entry}/{signal.position}",
        at=0.0,
        entry=entry,
        attempt=1,
        name=signal.action,
        signal=signal.name,
        values={"entry_name": entry, "entry_id": "", "attempt": "1", "signal": signal.name, **signal.values},
        metadata=metadata,
    )
    try:
        events = list(action.events(occasion))
    except ValueError as err:
        raise UsageError(f"action '{signal.action}': {err}") from err
    argv = [word for event in events if isinstance(event, ActionQueued) for word in event.argv]
    does = "; ".join(filter(None, map(described, events)))
    return {**row, "argv": argv, **({"does": does} if does else {})}


def described(event: Event) -> str:
    """Return in words what an event other than a command asks for, empty for those that ask for nothing."""
    if isinstance(event, Noticed):
        return f"notify: {event.message}"
    if isinstance(event, CancelAsked):
        return f"cancel, as {event.mode}: {event.reason}" if event.mode else f"cancel: {event.reason}"
    return ""


def _state_decision(entry: str, text: str, signals: Sequence[SeenSignal], settings: WatchSettings) -> dict[str, Any]:
    state = JobState.parse(text)
    if not state.is_terminal:
        return _decision(entry, None, "", restart=False, reason=f"{state.value} is not the end of a job")
    verdict = classify(
        Evidence(state=state, signal_modes=tuple((s.mode, s.name) for s in signals if s.mode), exit_code=_code(state))
    )
    if state is JobState.COMPLETED:
        return _decision(entry, ErrorMode.SUCCESS, "", restart=False, reason="completed")
    failure = Failure(
        mode=verdict.mode,
        reason=verdict.reason,
        attempt=1,
        restarts=0,
        restarts_for_mode=0,
        signals=frozenset(signal.name for signal in signals),
        subsystems=frozenset(str(signal.metadata.get("subsystem", "")) for signal in signals) - {""},
    )
    decision = decide(failure, settings.policies, settings.restart)
    return _decision(entry, verdict.mode, decision.policy, restart=decision.restart, reason=decision.reason)


def _code(state: JobState) -> int | None:
    return 1 if state is JobState.FAILED else None


def _decision(entry: str, mode: ErrorMode | None, policy: str, restart: bool, reason: str) -> dict[str, Any]:
    return {
        "entry": entry,
        "error_mode": mode.value if mode is not None else "",
        "policy": policy,
        "decision": "restart" if restart else "stop",
        "reason": reason,
    }


def _ran(row: Mapping[str, Any], settings: WatchSettings) -> bool:
    if row.get("does"):
        sys.stderr.write(f"oellm-bench: {row['entry']}: {row['does']} (only a monitor of a session can)\n")
        return True
    if not row["argv"]:
        sys.stderr.write(f"oellm-bench: action '{row['action']}' is not defined; give --action {row['action']}=CMD\n")
        return False
    done = run(row["argv"], timeout_s=settings.monitoring.action_timeout_s, environment=os.environ)
    sys.stderr.write(done.stdout + done.stderr)
    return done.returncode == 0


def _report(
    actions: Sequence[Mapping[str, Any]],
    decisions: Sequence[Mapping[str, Any]],
    others: Sequence[Mapping[str, Any]],
    *,
    as_json: bool,
) -> int:
    """Print commands, decisions, and what else would be done: cancels and notices."""
    if as_json:
        print_json({"schema_version": SCHEMA_VERSION, "actions": actions, "decisions": decisions, "others": others})
        return EXIT_DONE
    for row in actions:
        what = row.get("does") or command_line(row["argv"])
        sys.stdout.write(f"{row['entry']}: {row['signal']}: {row['action']}: {what}\n")
    for row in others:
        sys.stdout.write(f"{row['entry']}: {row['does']}\n")
    for row in decisions:
        sys.stdout.write(f"{row['entry']}: {row['error_mode']}: {row['decision']} ({row['reason']})\n")
    return EXIT_DONE
