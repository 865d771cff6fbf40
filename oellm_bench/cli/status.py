"""`status`: what the entries of a session are doing now."""

from __future__ import annotations

import argparse
from collections import Counter

from oellm_bench.assemble import open_scheduler
from oellm_bench.cli.live import status_table
from oellm_bench.cli.table import console, print_json
from oellm_bench.clock import SystemClock
from oellm_bench.core.plan import read_plan
from oellm_bench.core.token import session_prefix
from oellm_bench.errors import EXIT_DONE
from oellm_bench.log import set_up
from oellm_bench.monitoring.reconcile import match, observe
from oellm_bench.session import Session, find_session
from oellm_bench.state.fold import SessionState, apply
from oellm_bench.view import session_view

SCHEMA_VERSION = 1
_SHOWN = 500  # more rows are of no use to a person, and take seconds to lay out


def run(args: argparse.Namespace) -> int:
    """Print the journalled state, brought up to date by one look at the scheduler; changes nothing."""
    set_up(verbose=args.verbose)
    session = find_session(args.session)
    plan, state = read_plan(session.layout.sweep), session.store().state
    calls = _look(session, state)
    view = session_view(session, plan, state, SystemClock().now())
    if args.json:
        print_json({"schema_version": SCHEMA_VERSION, **view, "scheduler_calls": calls})
        return EXIT_DONE
    out = console()
    finished = "finished" if state.finished else "unfinished"
    out.print(f"{session.id}: {finished}, {session.session_dir}")
    out.print(status_table(view["entries"][:_SHOWN]))
    if len(view["entries"]) > _SHOWN:
        counts = Counter(row["state"] for row in view["entries"])
        states = ", ".join(f"{count} {state}" for state, count in counts.most_common())
        out.print(f"the first {_SHOWN} of {len(view['entries'])} entries ({states}); --json has all")
    if view["actions"]["not_done"]:
        out.print(f"{view['actions']['not_done']} actions failed or are still to be run, see the session's journal")
    return EXIT_DONE


def _look(session: Session, state: SessionState) -> int:
    """Take the scheduler's answer into `state` (in memory only) and return how many calls it took."""
    live = [
        (entry.id, entry.attempts[-1])
        for entry in state.entries.values()
        if entry.attempts and not entry.attempts[-1].is_over and entry.attempts[-1].job_id
    ]
    if not live:
        return 0
    snapshot = open_scheduler(session).snapshot(session_prefix(session.session8), session.looked_up_since)
    matched = match(snapshot, state)
    for entry_id, attempt in live:
        for event in observe(entry_id, attempt, matched, snapshot):
            apply(event, state)
    return snapshot.calls
