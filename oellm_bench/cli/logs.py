"""`logs`: print or follow an entry's log, over its restarts."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

from oellm_bench.cli.entries import find_entry
from oellm_bench.clock import SystemClock
from oellm_bench.core.plan import PlannedEntry, read_plan
from oellm_bench.errors import EXIT_DONE, UsageError
from oellm_bench.log import set_up
from oellm_bench.monitoring.log_tail import Cursor, read_new
from oellm_bench.session import Session, find_session
from oellm_bench.state.model import AttemptState, SessionState

_PAUSE_S = 0.5


def run(args: argparse.Namespace) -> int:
    """Print the chosen log of every attempt, the decision between two attempts on stderr."""
    set_up(verbose=args.verbose)
    session = find_session(args.session)
    planned = find_entry(read_plan(session.layout.sweep), args.entry)
    entry = session.store().state.entries.get(planned.id)
    attempts = entry.attempts if entry is not None else []
    chosen = [attempt for attempt in attempts if args.attempt in (None, attempt.number)]
    if not chosen:
        which = f"attempt {args.attempt}" if args.attempt else "attempt"
        raise UsageError(f"entry {planned.name} has no {which} yet; it has {len(attempts)}")
    last = chosen[-1].number
    for number, incarnations in itertools.groupby(chosen, key=lambda attempt: attempt.number):
        if args.follow and number == last:
            _follow(session, planned, last, args.stream, onwards=args.attempt is None)
            break
        runs = list(incarnations)
        for attempt in runs:
            _announce(attempt)
        # One that was requeued has written on into the same log.
        _print_whole(_path(session, planned, runs[-1], args.stream))
    return EXIT_DONE


def _path(session: Session, planned: PlannedEntry, attempt: AttemptState, stream: str) -> Path:
    layout = session.layout.entry(planned.name).attempt(attempt.number)
    if stream == "slurm":
        return session.layout.scheduler_log(planned.name, attempt.number, attempt.job_id)
    return {"stdout": layout.stdout, "stderr": layout.stderr, "ray": layout.ray_startup}[stream]


def _print_whole(path: Path) -> None:
    cursor = Cursor()
    while chunk := read_new(path, cursor, final=True):
        _write(chunk.data)
        cursor = chunk.cursor


def _follow(session: Session, planned: PlannedEntry, number: int, stream: str, *, onwards: bool) -> None:
    """Print what comes until the attempt is over, with `onwards` until the entry is, one attempt after the other."""
    clock, cursor, announced = SystemClock(), Cursor(), 0
    for state in _states(session):
        entry, attempt = state.entries[planned.id], state.attempt(planned.id, number)
        if announced != number:
            _announce(attempt)
            announced, cursor = number, Cursor()
        ended = attempt.is_over
        while chunk := read_new(_path(session, planned, attempt, stream), cursor, final=ended):
            _write(chunk.data)
            cursor = chunk.cursor
        if ended and onwards and number < entry.attempts[-1].number:
            number += 1
        elif ended and (entry.over or not onwards):
            return
        else:
            clock.sleep(_PAUSE_S)


def _states(session: Session) -> Iterator[SessionState]:
    """Yield the state again and again; the journal is read on from where it was, and anew where it has moved."""
    store, archived = session.store(), session.layout.journal.exists()
    while True:
        yield store.state
        store.refresh()
        if not archived and session.layout.journal.exists():
            store, archived = session.store(), True


def _announce(attempt: AttemptState) -> None:
    """Say which attempt it is, how it ended, and what was decided about that."""
    words = [attempt.mode.value, *([attempt.reason] if attempt.reason else [])] if attempt.mode is not None else []
    ended = f", {': '.join(words)}" if words else ""
    then = f"; then: {attempt.decision}" if attempt.decision not in ("", attempt.reason) else ""
    sys.stderr.write(f"--- attempt {attempt.number}, job {attempt.job_id or '?'}{ended}{then}\n")
    sys.stderr.flush()


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
