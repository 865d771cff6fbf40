"""`status`: what the entries of a session are doing now."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict

from oellm_bench.assemble import open_scheduler
from oellm_bench.cli.live import status_table
from oellm_bench.cli.table import console, print_json
from oellm_bench.clock import SystemClock
from oellm_bench.core.plan import read_plan
from oellm_bench.core.token import session_prefix
from oellm_bench.errors import EXIT_DONE
from oellm_bench.log import set_up
from oellm_bench.monitoring.reconcile import match, observations
from oellm_bench.outbox import leftovers
from oellm_bench.schedulers.base import CallBudget, Scheduler
from oellm_bench.session import Session, find_session
from oellm_bench.state.fold import apply
from oellm_bench.state.model import SessionState
from oellm_bench.units import format_duration
from oellm_bench.view import not_selected, session_view, with_heartbeats

SCHEMA_VERSION = 1
_SHOWN_NOTICES = 10
_SHOWN = 500  # more rows are of no use to a person, and take seconds to lay out


def run(args: argparse.Namespace) -> int:
    """Print the journalled state, brought up to date by one look at the scheduler; changes nothing."""
    set_up(verbose=args.verbose)
    session = find_session(args.session)
    plan, state = read_plan(session.layout.sweep), session.store().state
    scheduler = open_scheduler(session)
    calls = _look(session, scheduler, state)
    budget = scheduler.budget()
    now = SystemClock().now()
    view = with_heartbeats(session_view(session, plan, state, now), session.layout, now)
    untold = leftovers(session.sinks, plan, state)
    if args.json:
        left = None if budget is None else asdict(budget)
        print_json(
            {
                "schema_version": SCHEMA_VERSION,
                **view,
                "sinks": [asdict(leftover) for leftover in untold],
                "scheduler_calls": calls,
                "scheduler_budget": left,
            }
        )
        return EXIT_DONE
    out = console()
    words = ["finished" if state.finished else "unfinished"]
    unsubmitted = len(not_selected(plan, state))
    words += [f"{unsubmitted} of {len(plan.entries)} not submitted"] if unsubmitted else []
    out.print(f"{session.id}: {', '.join(words)}, {session.session_dir}")
    out.print(status_table(view["entries"][:_SHOWN]))
    if len(view["entries"]) > _SHOWN:
        counts = Counter(row["state"] for row in view["entries"])
        states = ", ".join(f"{count} {state}" for state, count in counts.most_common())
        out.print(f"the first {_SHOWN} of {len(view['entries'])} entries ({states}); --json has all")
    for notice in view["notices"][-_SHOWN_NOTICES:]:
        out.print(f"notice: {' '.join(filter(None, (notice['entry'], notice['message'])))}", markup=False)
    if view["actions"]["not_done"]:
        out.print(f"{view['actions']['not_done']} actions failed or are still to be run, see the session's journal")
    for leftover in untold:
        if leftover.message or state.finished:
            out.print(f"{leftover}")
    for line in _budget_lines(budget, calls):
        out.print(line)
    return EXIT_DONE


def _budget_lines(budget: CallBudget | None, calls: int) -> Iterator[str]:
    """Yield how the scheduler's commands are used, and which of them are left alone for now."""
    if budget is None:
        return
    left = f"{budget.left} of {budget.burst} calls left ({budget.per_s:g} more a second)"
    yield f"scheduler: {calls} calls for this look, {budget.made} in all, {left}"
    for pause in budget.pauses:
        until = (
            f"left alone for {format_duration(pause.left_s)} more" if pause.left_s else "tried again at the next look"
        )
        yield f"scheduler: {pause.command} failed {pause.failures} times, {until}: {pause.message}"


def _look(session: Session, scheduler: Scheduler, state: SessionState) -> int:
    """Take the scheduler's answer into `state` (in memory only) and return how many calls it took."""
    if not any(entry.last and entry.last.job_id and not entry.last.is_over for entry in state.entries.values()):
        return 0
    snapshot = scheduler.snapshot(session_prefix(session.session8), session.looked_up_since)
    for event in list(observations(state, match(snapshot, state), snapshot)):
        apply(event, state)
    return snapshot.calls
