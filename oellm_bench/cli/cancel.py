"""`cancel`: end a session or some of its entries for good."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from oellm_bench.assemble import open_scheduler
from oellm_bench.cli.entries import find_entry
from oellm_bench.clock import SystemClock
from oellm_bench.core.events import CancelAsked
from oellm_bench.core.plan import read_plan
from oellm_bench.core.token import session_prefix
from oellm_bench.errors import EXIT_DONE, SchedulerUnavailable
from oellm_bench.log import set_up
from oellm_bench.monitoring.reconcile import cancellable, match
from oellm_bench.session import Session, find_session
from oellm_bench.state.model import AttemptState, SessionState


def run(args: argparse.Namespace) -> int:
    """Journal the wish, then cancel the jobs; what is cancelled is never restarted.

    A monitor that runs or is started later finishes the book-keeping, and cancels what could not be reached now.
    """
    set_up(verbose=args.verbose)
    session = find_session(args.session)
    plan, store = read_plan(session.layout.sweep), session.store()
    wanted = [find_entry(plan, name).id for name in args.entries] or [entry.id for entry in plan.entries]
    now = SystemClock().now()
    attempts: list[AttemptState] = []
    events: list[CancelAsked] = []
    with store.locked():
        for entry_id in wanted:
            entry = store.state.entries.get(entry_id)
            if entry is None or entry.over or entry.cancelled:
                continue
            last = entry.last
            events.append(
                CancelAsked(
                    at=now,
                    entry=entry_id,
                    attempt=last.number if last else 0,
                    by="user",
                    reason="cancelled by the user",
                )
            )
            if last is not None and last.job_id and not last.is_over:
                attempts.append(last)
        store.append(*events)
    if attempts:
        _cancel_jobs(session, store.state, attempts)
    names = {entry.id: entry.name for entry in plan.entries}
    sys.stdout.write("".join(f"{names[event.entry]}\n" for event in events))
    if not events:
        sys.stderr.write("oellm-bench: nothing to cancel, all of that is over\n")
    return EXIT_DONE


def _cancel_jobs(session: Session, state: SessionState, attempts: Sequence[AttemptState]) -> None:
    """Cancel the attempts' jobs as the scheduler lists them now. Raises SchedulerUnavailable."""
    scheduler = open_scheduler(session)
    snapshot = scheduler.snapshot(session_prefix(session.session8), session.looked_up_since, insist=True)
    if not snapshot.queue_answered:
        raise SchedulerUnavailable(
            "the scheduler does not answer; the cancel is noted, and the monitor carries it out as soon as it does"
        )
    scheduler.cancel(cancellable(match(snapshot, state), attempts))
