"""`submit`: what is not submitted yet, and nothing twice."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Collection
from dataclasses import replace
from typing import Any

from oellm_bench.assemble import make_book, make_gates, make_submitter
from oellm_bench.book import Book
from oellm_bench.checking import missing_inputs, sink_problems
from oellm_bench.cli.configuration import Prepared, prepare
from oellm_bench.cli.plan import summary
from oellm_bench.cli.selection import Wanted, selected
from oellm_bench.cli.settling import settled
from oellm_bench.cli.table import console, print_json, table
from oellm_bench.cli.watching import watch
from oellm_bench.clock import Clock, SystemClock
from oellm_bench.core.events import Submitted
from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.plan import Plan, read_plan
from oellm_bench.errors import EXIT_DONE, EXIT_NOT_PASSED, EXIT_UNREACHABLE, ConfigError, UsageError
from oellm_bench.log import set_up
from oellm_bench.schedulers.base import Limits
from oellm_bench.session import Session
from oellm_bench.session_writing import make_output_folder
from oellm_bench.shared_ray import shared_ray
from oellm_bench.shell import command_line
from oellm_bench.state.fold import apply
from oellm_bench.state.model import AttemptState, EntryState, SessionState
from oellm_bench.state.store import SessionStore
from oellm_bench.view import ended_badly, entry_state, session_view, went_as_expected
from oellm_bench.watch import watch_settings

SCHEMA_VERSION = 1
_LOOK_S = 0.1  # between two looks at commands of start conditions
_log = logging.getLogger(__name__)


def run(args: argparse.Namespace) -> int:
    """Submit, print ids, and go on watching where asked."""
    set_up(verbose=args.verbose)
    prepared = prepare(args)
    if args.dry_run:
        return _dry_run(prepared, Wanted(subset=args.subset, again=args.retry_failed), as_json=args.json)
    session, code = submit(args, prepared)
    if args.json:
        print_json(submit_document(session))
    elif args.monitor:
        sys.stdout.write(f"{session.id}\n")
        sys.stdout.flush()
    else:
        _print_jobs(session)
    if args.monitor and code == EXIT_DONE:
        return watch(session, interval_s=None, once=False, actions={})
    return code


def submit(args: argparse.Namespace, prepared: Prepared) -> tuple[Session, int]:
    """Write the session where it is new, submit what is due, and return it with an exit code."""
    clock = SystemClock()
    _refuse_missing(prepared)
    _confirm(prepared, yes=args.yes)
    wanted = Wanted(subset=args.subset, again=args.retry_failed)
    _refuse_wrong_subset(prepared, args.subset)
    make_output_folder(prepared.state_layout.root)
    if prepared.changed_settings():
        _log.warning("session %s keeps the monitoring and restart settings it was submitted with", prepared.session8)
    finished = None if args.request else prepared.finished_before()
    if finished is not None:
        _log.warning(
            "session %s of just this plan is finished; this one begins anew%s", finished.id, _other_way(finished)
        )
    session, store = settled(prepared, wanted, args.request, clock)
    if store.state.finished:
        _log.warning("session %s has ended: nothing is submitted", session.id)
        return session, EXIT_DONE if went_as_expected(read_plan(session.layout.sweep), store.state) else EXIT_NOT_PASSED
    plan = read_plan(session.layout.sweep)
    submitter = make_submitter(session, plan, store, clock)
    with shared_ray(session.layout, plan) as head:
        head.ensure()
        submitter.recover()
        if _has_conditions(plan, "start_conditions") and not _has_conditions(plan, "cancel_conditions"):
            submitter.submit_due()  # what has no conditions does not wait for the answers of others
        _open_gates(session, plan, store, clock)
        submitter.submit_due()
    _write_view(session, plan, store, clock)
    if all(entry.over or entry.cancelled for entry in store.state.entries.values()):
        _log.warning(
            "every entry of session %s is over or cancelled, nothing is submitted; `oellm-bench monitor --session %s` "
            "closes it, and the next submit begins a new one (with --retry-failed: submits them again)",
            session.id,
            session.id,
        )
    return session, _exit_code(store.state)


def _other_way(finished: Session) -> str:
    """Say how to go on with a session instead, where something in it has failed."""
    failed = ended_badly(read_plan(finished.layout.sweep), finished.store().state)
    return f" (submit --retry-failed tries the {len(failed)} that failed in {finished.id} once more)" if failed else ""


def _has_conditions(plan: Plan, kind: str) -> bool:
    return any(document["monitoring"].get(kind) for document in plan.watch)


def _write_view(session: Session, plan: Plan, store: SessionStore, clock: Clock) -> None:
    """Put what is in flight into state.json, which the monitor keeps up; under the lock, or it may be over by then."""
    with store.locked():
        if not store.state.finished:
            store.write_snapshot(session_view(session, plan, store.state, clock.now()))


def _refuse_missing(prepared: Prepared) -> None:
    """Refuse to begin a session whose inputs are not there. Raises ConfigError."""
    campaign = prepared.campaign
    if prepared.session is None and (unusable := sink_problems(campaign.project.sinks)):
        raise ConfigError(unusable)
    if prepared.session is None and campaign.project.project.check_inputs:
        missing = missing_inputs(campaign.inputs, campaign.images)
        if missing:
            raise ConfigError(
                replace(problem, fix=f"{problem.fix}; where an entry makes it, set project.check_inputs=false")
                for problem in missing
            )


def _open_gates(session: Session, plan: Plan, store: SessionStore, clock: Clock) -> None:
    """Look at the start conditions once, commands among them to their end."""
    gates = make_gates(session, plan, [watch_settings(document, {}) for document in plan.watch])
    try:
        while True:
            with store.locked():
                store.append(*gates.step(store.state, clock.now()))
            if gates.has_answered:
                break
            clock.sleep(_LOOK_S)
    finally:
        gates.close()
    closed = sum(_waits_for_conditions(entry) for entry in store.state.entries.values() if entry.is_fresh)
    if closed:
        _log.warning("%d entries wait for their start conditions; the monitor submits them when these hold", closed)


def submit_document(session: Session) -> dict[str, Any]:
    """Return what `submit --json` prints."""
    return {
        "schema_version": SCHEMA_VERSION,
        "session": session.id,
        "session_dir": session.session_dir,
        "jobs": [
            {
                "entry": name,
                "attempt": attempt.number,
                "job_id": attempt.job_id,
                "token": attempt.token,
                "state": state,
                "reason": attempt.refused,
            }
            for name, attempt, state in _jobs(session)
        ],
    }


def _print_jobs(session: Session) -> None:
    sys.stdout.write(f"{session.id}\n")
    rows = [
        (name, attempt.number, attempt.job_id, attempt.token, "" if attempt.job_id else state)
        for name, attempt, state in _jobs(session)
    ]
    if rows:
        console().print(table(("entry", "attempt", "job", "token", "note"), rows))
    sys.stderr.write(
        f"`oellm-bench monitor --session {session.id}` watches them, restarts by policy, collects results\n"
    )


def _jobs(session: Session) -> list[tuple[str, AttemptState, str]]:
    plan, store = read_plan(session.layout.sweep), SessionStore(session.id, session.layout, session.state_layout)
    return [
        (entry.name, state.attempts[-1], entry_state(state))
        for entry in plan.entries
        if (state := store.state.entries.get(entry.id)) is not None and state.attempts
    ]


def _exit_code(state: SessionState) -> int:
    attempts = [entry.last for entry in state.entries.values() if entry.last is not None]
    if any(attempt.unclear_since is not None for attempt in attempts):
        _log.warning("some submissions got no clear answer; run submit or monitor again, nothing is sent twice")
        return EXIT_UNREACHABLE
    refused = [attempt.refused for attempt in attempts if attempt.refused]
    for message in dict.fromkeys(refused):
        _log.warning("refused: %s", message)
    unsent = [entry for entry in state.entries.values() if entry.is_fresh and not _waits_for_conditions(entry)]
    if unsent and not attempts:
        return EXIT_UNREACHABLE
    return EXIT_NOT_PASSED if refused else EXIT_DONE


def _waits_for_conditions(entry: EntryState) -> bool:
    return bool(entry.gate_reason) and not entry.gate_open


def _refuse_wrong_subset(prepared: Prepared, subset: Collection[int] | None) -> None:
    """Raise UsageError before anything is written."""
    before = prepared.session.store().state.entries if prepared.session is not None else ()
    try:
        selected(prepared.campaign.plan, subset, before=before)
    except UsageError as err:
        finished = prepared.finished_before()
        if finished is None:
            raise
        selected(prepared.campaign.plan, subset, before=finished.store().state.entries)
        hint = _other_way(finished) or f" (session {finished.id} has run all of this, and is finished)"
        raise UsageError(f"{err}{hint}") from err


def _confirm(prepared: Prepared, *, yes: bool) -> None:
    """Ask before an expensive campaign. Raises UsageError where the answer is no, or nobody is there to ask."""
    plan, limit = prepared.campaign.plan, prepared.campaign.project.project.confirm_gpu_hours
    if yes or prepared.session is not None or plan.gpu_hours <= limit:
        return
    question = f"{summary(plan)}: more than project.confirm_gpu_hours ({limit:g})"
    if not sys.stdin.isatty():
        raise UsageError(f"{question}; say --yes to submit it all the same")
    sys.stderr.write(f"{question}. Submit? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was submitted")


def _dry_run(prepared: Prepared, wanted: Wanted, *, as_json: bool) -> int:
    """Print each call and each script as they would be sent; write nothing."""
    plan, state = prepared.campaign.plan, SessionState()
    if prepared.session is not None:
        state = prepared.session.store().state
        book = make_book(prepared.session, read_plan(prepared.session.layout.sweep))
    else:
        max_parallel = prepared.campaign.project.slurm.max_parallel
        layout = SessionLayout(prepared.session_dir)
        max_submit = prepared.campaign.project.slurm.max_submit
        book = Book(
            session8=prepared.session8, plan=plan, layout=layout, max_parallel=max_parallel, max_submit=max_submit
        )
    now = SystemClock().now()
    for event in wanted.events(plan, state, now):
        apply(event, state)
    calls: list[tuple[str, ...]] = []
    while due := book.due(state, now, Limits()):
        for intended in due:
            calls.append(book.request(intended).sbatch_argv())
            apply(intended, state)
            job = f"<job of {plan.by_id[intended.entries[0]].name}>"
            apply(Submitted(at=now, token=intended.token, job_id=job), state)
    waiting = [plan.by_id[entry.id].name for entry in state.entries.values() if entry.is_fresh]
    if as_json:
        print_json(
            {
                "schema_version": SCHEMA_VERSION,
                "session_dir": str(prepared.session_dir),
                "calls": calls,
                "waiting": waiting,
                "scripts": dict(prepared.campaign.scripts),
            }
        )
        return EXIT_DONE
    sys.stdout.write("".join(f"$ {command_line(call)}\n" for call in calls))
    sys.stdout.write("".join(f"# {name}: once its start conditions hold\n" for name in waiting))
    for name, text in prepared.campaign.scripts.items():
        sys.stdout.write(f"\n--- {prepared.session_dir / name}\n{text}")
    return EXIT_DONE
