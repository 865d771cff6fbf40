"""Which session a submit goes on with, and what is selected in it: settled under the locks."""

from __future__ import annotations

import logging
import time

from oellm_bench.cli.configuration import Prepared
from oellm_bench.cli.selection import Wanted
from oellm_bench.clock import Clock
from oellm_bench.core.events import Retried, Selected
from oellm_bench.core.plan import read_plan
from oellm_bench.errors import AlreadyWatched
from oellm_bench.fileio import file_lock
from oellm_bench.session import Session
from oellm_bench.state.lease import Lease
from oellm_bench.state.store import SessionStore

_LEASE_S = 60.0
_LAST_BREATH_S = 20.0  # in which a monitor that has ended its session ends itself
_LOOK_S = 0.1
_WHICH = {Selected: "that were not submitted yet", Retried: "that have failed"}
_log = logging.getLogger(__name__)


def settled(prepared: Prepared, wanted: Wanted, request: str, clock: Clock) -> tuple[Session, SessionStore]:
    """Return the session to submit, its entries selected; one that has ended where nothing is to be done in it.

    Two submits at once would otherwise each make a session of their own, and a session may end between the look
    and the lock: so the look is repeated under the lock until both agree. Raises AlreadyWatched where an ended session
    that has more to do is held by a process that does not end.
    """
    deadline = time.monotonic() + _LAST_BREATH_S
    while True:
        try:
            with file_lock(prepared.state_layout.submit_lock):
                found = _settle(prepared, wanted, request, clock)
        except AlreadyWatched:
            if time.monotonic() > deadline:
                raise
            clock.sleep(_LOOK_S)
            found = None
        if found is not None:
            return found
        prepared = prepared.again()


def _settle(prepared: Prepared, wanted: Wanted, request: str, clock: Clock) -> tuple[Session, SessionStore] | None:
    """Select what is to be done, None where the session is another one than was prepared for."""
    if not prepared.is_current():
        return None
    finished = prepared.finished_before(request) if request else None
    if finished is not None:
        return finished, finished.store()
    prepared.refuse_overlap()
    session = prepared.written(clock)
    store = session.store()
    ended = store.state.finished
    if ended:
        return session, _gone_on_with(session, store, wanted, clock)
    with store.locked():
        if store.state.finished:
            return None  # its monitor has ended it just now
        store.append(*_events(session, store, wanted, clock))
    return session, store


def _gone_on_with(session: Session, store: SessionStore, wanted: Wanted, clock: Clock) -> SessionStore:
    """Reopen a finished session where there is more to do in it. Raises AlreadyWatched.

    Under the lease: who has just ended it may still be at its report, its sinks or its Ray head.
    """
    if not _events(session, store, wanted, clock):
        return store
    lease = Lease(session.state_layout.lease(session.id), clock, length_s=_LEASE_S)
    lease.acquire()
    try:
        with store.locked():
            events = _events(session, store, wanted, clock)
            store.go_on(*events)
    finally:
        lease.release()
    told = " and ".join(f"{len(event.entries)} entries {_WHICH[type(event)]}" for event in events)
    _log.warning("session %s had ended; it goes on with %s", session.id, told)
    return store


def _events(session: Session, store: SessionStore, wanted: Wanted, clock: Clock) -> list[Selected | Retried]:
    return wanted.events(read_plan(session.layout.sweep), store.state, clock.now())
