"""`sessions`: the user's sessions, newest first."""

from __future__ import annotations

import argparse

from oellm_bench.cli.table import console, print_json, table
from oellm_bench.errors import EXIT_DONE
from oellm_bench.log import set_up
from oellm_bench.session import Session, known_sessions, read_session

SCHEMA_VERSION = 1


def run(args: argparse.Namespace) -> int:
    """Print one line per session that still exists."""
    set_up(verbose=args.verbose)
    rows = [_row(read_session(path)) for path in known_sessions()]
    if args.json:
        print_json({"schema_version": SCHEMA_VERSION, "sessions": rows})
        return EXIT_DONE
    columns = ("session", "state", "entries", "over", "created", "session_dir")
    console().print(table(columns, [[row[name] for name in columns] for row in rows]))
    return EXIT_DONE


def _row(session: Session) -> dict[str, object]:
    store = session.store()
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
