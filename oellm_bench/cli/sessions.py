"""`sessions`: the user's sessions, newest first."""

from __future__ import annotations

import argparse
import logging

from oellm_bench.cli.table import console, print_json, table
from oellm_bench.errors import EXIT_DONE, StateError
from oellm_bench.log import set_up
from oellm_bench.session import Session, known_sessions, sessions_in

SCHEMA_VERSION = 1
_log = logging.getLogger(__name__)


def run(args: argparse.Namespace) -> int:
    """Print one line per session that still exists."""
    set_up(verbose=args.verbose)
    rows = [row for session in sessions_in(known_sessions()) if (row := _row(session)) is not None]
    if args.json:
        print_json({"schema_version": SCHEMA_VERSION, "sessions": rows})
        return EXIT_DONE
    columns = ("session", "state", "entries", "over", "created", "session_dir")
    console().print(table(columns, [[row[name] for name in columns] for row in rows]))
    return EXIT_DONE


def _row(session: Session) -> dict[str, object] | None:
    try:
        store = session.store()
    except StateError as err:
        _log.warning("%s", err)
        return None
    over = sum(entry.over for entry in store.state.entries.values())
    state = "finished" if store.state.finished else "submitted" if store.begun else "planned"
    return {
        "session": session.id,
        "state": state,
        "entries": session.entries,
        "over": over,
        "created": session.created,
        "session_dir": session.session_dir,
    }
