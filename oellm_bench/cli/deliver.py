"""`deliver`: hand sinks what they have not taken while a session was watched."""

from __future__ import annotations

import argparse
import sys

from oellm_bench.assemble import make_delivery
from oellm_bench.builtins import load_all
from oellm_bench.clock import Clock, SystemClock
from oellm_bench.core.plan import read_plan
from oellm_bench.delivery import SinkDelivery
from oellm_bench.errors import EXIT_DONE, EXIT_NOT_PASSED, EXIT_UNREACHABLE, UsageError, nearest
from oellm_bench.log import set_up
from oellm_bench.outbox import leftovers
from oellm_bench.session import Session, find_session
from oellm_bench.state.lease import Lease
from oellm_bench.state.store import SessionStore

_PAUSE_S = 0.1  # between two looks at what sinks have answered
_LEASE_S = 180.0


def run(args: argparse.Namespace) -> int:
    """Return 0 where nothing is left, 1 where something is, 4 where it is and nothing at all went through."""
    set_up(verbose=args.verbose)
    session = find_session(args.session)
    chosen = _chosen(session, args.sink)
    clock = SystemClock()
    lease = Lease(session.state_layout.lease(session.id), clock, length_s=_LEASE_S)
    lease.acquire()
    try:
        return _deliver(session, chosen, lease, clock)
    finally:
        lease.release()


def _chosen(session: Session, names: list[str]) -> list[str]:
    unknown = [name for name in names if name not in session.sinks]
    if unknown:
        known = nearest(unknown[0], [*session.sinks])
        raise UsageError(f"session {session.id} has no sink '{unknown[0]}'; {known}")
    return names or [*session.sinks]


def _deliver(session: Session, chosen: list[str], lease: Lease, clock: Clock) -> int:
    load_all()
    plan, store = read_plan(session.layout.sweep), session.store()
    before = leftovers(chosen, plan, store.state)
    delivery = make_delivery(session, plan, store, [leftover.sink for leftover in before])
    try:
        while not _done(delivery, store, clock):
            clock.sleep(_PAUSE_S)
            lease.renew()
    finally:
        delivery.close()
    after = leftovers(chosen, plan, store.state)
    for leftover in after:
        sys.stderr.write(f"oellm-bench: {delivery.untold(leftover)}\n")
    stuck = {leftover.sink for leftover in after}
    for sink in (leftover.sink for leftover in before if leftover.sink not in stuck):
        sys.stdout.write(f"sink {sink} has taken everything\n")
    if not before:
        sys.stdout.write("nothing is left to deliver\n")
    if not after:
        return EXIT_DONE
    moved = sum(item.results + item.notices for item in after) < sum(item.results + item.notices for item in before)
    return EXIT_NOT_PASSED if moved else EXIT_UNREACHABLE


def _done(delivery: SinkDelivery, store: SessionStore, clock: Clock) -> bool:
    """Take one look, and tell whether it was the last one."""
    with store.locked():
        ending = store.state.finished
    events = delivery.deliver(store.state, clock.now(), ending=ending)
    with store.locked():
        store.append_late(*events)
    return delivery.is_tried(store.state, ending=ending)
