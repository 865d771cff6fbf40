"""`results`: metrics and requirements of a session's entries."""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from oellm_bench.cli.table import cell, console, print_json, table
from oellm_bench.core.plan import read_plan
from oellm_bench.core.result import EntryResult
from oellm_bench.errors import EXIT_DONE, EXIT_NOT_PASSED
from oellm_bench.log import set_up
from oellm_bench.session import Session, find_session
from oellm_bench.view import entry_state, final_result

SCHEMA_VERSION = 1
_MOST_METRICS = 8  # in the table; the other forms have all of them


def run(args: argparse.Namespace) -> int:
    """Print the results and return 1 where an entry has not passed."""
    set_up(verbose=args.verbose)
    return print_results(find_session(args.session), args.form)


def print_results(session: Session, form: str | None) -> int:
    """Print the results of a session in one of the forms; return 0 where every entry has passed."""
    rows = result_rows(session)
    if form == "json":
        print_json({"schema_version": SCHEMA_VERSION, "session": session.id, "entries": rows})
    elif form == "csv":
        _print_csv(rows)
    elif form == "md":
        _print_markdown(rows)
    else:
        console().print(table(*_table(rows, _MOST_METRICS)))
    return EXIT_DONE if rows and all(row["success"] for row in rows) else EXIT_NOT_PASSED


def result_rows(session: Session) -> list[dict[str, Any]]:
    """Return one row per selected entry, those that are not over yet without a success."""
    plan, state = read_plan(session.layout.sweep), session.store().state
    rows = []
    for planned in plan.entries:
        entry = state.entries.get(planned.id)
        if entry is None:
            continue
        if entry.over:
            rows.append(_row(final_result(planned, entry, session.layout), "", len(entry.attempts)))
        else:
            empty = EntryResult(
                name=planned.name, id=planned.id, attempt=len(entry.attempts), success=False, error_mode=""
            )
            rows.append(_row(empty, entry_state(entry), len(entry.attempts)))
    return rows


def _row(result: EntryResult, unfinished: str, attempts: int) -> dict[str, Any]:
    return {
        "name": result.name,
        "id": result.id,
        "success": result.success,
        "error_mode": result.error_mode,
        "state": unfinished or ("PASSED" if result.success else "FAILED"),
        "reason": result.reason,
        "attempts": attempts,
        "parameters": dict(result.parameters),
        "metrics": dict(result.metrics),
        "requirements_not_met": list(result.requirements_not_met),
        "exec_time_s": result.exec_time_s,
    }


def _table(rows: Sequence[Mapping[str, Any]], most: int | None) -> tuple[list[str], list[list[object]]]:
    """Return header and cells: the fixed columns, then scalar metrics."""
    metrics = list(
        dict.fromkeys(
            name
            for row in rows
            for name, value in row["metrics"].items()
            if not isinstance(value, list | dict) and name != "is_success"
        )
    )[:most]
    header = ["entry", "result", "attempts", "exec_time_s", *metrics, "note"]
    cells = [
        [
            row["name"],
            row["state"] if row["success"] or not row["error_mode"] else row["error_mode"],
            row["attempts"],
            row["exec_time_s"],
            *(row["metrics"].get(name) for name in metrics),
            "; ".join(row["requirements_not_met"]) or row["reason"],
        ]
        for row in rows
    ]
    return header, cells


def _print_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    header, cells = _table(rows, None)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([["" if value is None else _inert(value) for value in line] for line in cells])


def _inert(value: object) -> object:
    """Keep a spreadsheet from reading text that a job wrote as a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@") else value


def _print_markdown(rows: Sequence[Mapping[str, Any]]) -> None:
    header, cells = _table(rows, None)
    lines = [header, ["---"] * len(header), *([cell(value).replace("|", "\\|") for value in line] for line in cells)]
    sys.stdout.write("".join(f"| {' | '.join(line)} |\n" for line in lines))
