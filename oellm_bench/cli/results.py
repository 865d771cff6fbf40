"""`results`: metrics and requirements of a session's entries."""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from oellm_bench.cli.fitting import print_fitting
from oellm_bench.cli.table import cell, console, encodable, markdown, print_json
from oellm_bench.clock import SystemClock
from oellm_bench.core.expectation import expectation_note, is_as_expected
from oellm_bench.core.plan import PlannedEntry, read_plan
from oellm_bench.core.result import EntryResult
from oellm_bench.errors import EXIT_DONE, EXIT_NOT_PASSED
from oellm_bench.fileio import atomic_write_text
from oellm_bench.log import set_up
from oellm_bench.reporting.gather import gather
from oellm_bench.reporting.junit import junit_xml
from oellm_bench.results.spreadsheet import inert
from oellm_bench.session import Session, find_session
from oellm_bench.state.model import EntryState
from oellm_bench.view import entry_state, final_result

SCHEMA_VERSION = 1
_MOST_METRICS = 8  # in the table; the other forms have all of them
_LONGEST_PARAMETER = 40  # characters in the table


def run(args: argparse.Namespace) -> int:
    """Print the results and return 1 where an entry has not ended as expected."""
    set_up(verbose=args.verbose)
    session = find_session(args.session)
    sys.stderr.write(f"{session.id}\n")
    if args.output is None:
        return print_results(session, args.form)
    with contextlib.redirect_stdout(io.StringIO()) as text:
        code = print_results(session, args.form)
    atomic_write_text(args.output, text.getvalue())
    return code


def print_results(session: Session, form: str | None) -> int:
    """Print the results of a session in one of the forms; return 0 where every entry ended as expected."""
    rows = result_rows(session)
    if form == "json":
        print_json({"schema_version": SCHEMA_VERSION, "session": session.id, "entries": rows})
    elif form == "csv":
        _print_csv(rows)
    elif form == "md":
        _print_markdown(rows)
    elif form == "junit":
        sys.stdout.write(junit_xml(gather(session, now=SystemClock().now())))
    elif rows:
        left_out = _bulky(rows)
        print_fitting(*_table(rows, _MOST_METRICS, left_out))
        if left_out:
            console().print(f"not shown: {cell(', '.join(left_out))} (--csv has them)", style="dim")
    if any(not row["error_mode"] for row in rows) or not rows:
        sys.stderr.write(f"not everything is over; `oellm-bench monitor --session {session.id}` collects results\n")
    return EXIT_DONE if rows and all(row["as_expected"] for row in rows) else EXIT_NOT_PASSED


def result_rows(session: Session) -> list[dict[str, Any]]:
    """Return one row per selected entry, those that are not over yet without a success."""
    plan, state = read_plan(session.layout.sweep), session.store().state
    rows = []
    for planned in plan.entries:
        entry = state.entries.get(planned.id)
        if entry is None:
            continue
        if entry.over:
            rows.append(_row(final_result(planned, entry, session.layout), entry, planned))
        else:
            empty = EntryResult(
                name=planned.name, id=planned.id, attempt=len(entry.attempts), success=False, error_mode=""
            )
            rows.append(_row(empty, entry, planned))
    return rows


def _row(result: EntryResult, entry: EntryState, planned: PlannedEntry) -> dict[str, Any]:
    return {
        "name": result.name,
        "id": result.id,
        "group": planned.group or planned.name,
        "success": result.success,
        "expected_failure": planned.expected_failure,
        "as_expected": is_as_expected(planned.expected_failure, result.error_mode),
        "error_mode": result.error_mode,
        "state": entry_state(entry),
        "reason": result.reason,
        "attempts": len(entry.attempts),
        "parameters": dict(planned.parameters),
        "metrics": dict(result.metrics),
        "requirements": len(planned.requirements),
        "requirements_not_met": list(result.requirements_not_met),
        "requirements_told": list(result.requirements_told),
        "exec_time_s": result.exec_time_s,
    }


def _bulky(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the parameters that make a table too wide: mappings, lists of them, and what is long in some row."""
    values = [(name, value) for row in rows for name, value in row["parameters"].items()]
    return list(dict.fromkeys(name for name, value in values if _is_bulky(value)))


def _is_bulky(value: object) -> bool:
    nested = isinstance(value, list) and any(isinstance(item, list | dict) for item in value)
    return isinstance(value, dict) or nested or len(cell(value)) > _LONGEST_PARAMETER


def _table(
    rows: Sequence[Mapping[str, Any]], most: int | None, left_out: Sequence[str] = ()
) -> tuple[list[str], list[Sequence[object]]]:
    """Return header and cells: the fixed columns, parameters but those left out, then scalar metrics."""
    metrics = list(
        dict.fromkeys(
            name
            for row in rows
            for name, value in row["metrics"].items()
            if not isinstance(value, list | dict) and name != "is_success"
        )
    )[:most]
    parameters = list(dict.fromkeys(name for row in rows for name in row["parameters"] if name not in left_out))
    header = ["entry", "result", "attempts", "exec_time_s", *_short(parameters), *metrics, "requirements", "note"]
    cells: list[Sequence[object]] = [
        [
            row["name"],
            _outcome(row),
            row["attempts"],
            row["exec_time_s"],
            *(row["parameters"].get(name) for name in parameters),
            *(row["metrics"].get(name) for name in metrics),
            _met(row),
            _note(row),
        ]
        for row in rows
    ]
    return header, cells


def _note(row: Mapping[str, Any]) -> str:
    said = "; ".join(row["requirements_not_met"]) or row["reason"]
    expectation = expectation_note(row["expected_failure"], row["error_mode"])
    return "; ".join(filter(None, (expectation, said, *row["requirements_told"])))


def _outcome(row: Mapping[str, Any]) -> str:
    """Return the state, and with FAILED why; a cancelled entry's mode would only say it again."""
    failed = row["state"] == "FAILED" and row["error_mode"]
    return f"FAILED ({row['error_mode']})" if failed else str(row["state"])


def _short(keys: Sequence[str]) -> list[str]:
    """Return the last part of each dotted key, the whole key where two end alike."""
    last = [key.rsplit(".", 1)[-1] for key in keys]
    return [part if last.count(part) == 1 else key for key, part in zip(keys, last, strict=True)]


def _met(row: Mapping[str, Any]) -> str | None:
    total = row["requirements"]
    return f"{total - len(row['requirements_not_met'])}/{total}" if total and row["metrics"] else None


def _print_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    header, cells = _table(rows, None)
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerows([[_cell(value) for value in line] for line in [header, *cells]])


def _cell(value: object) -> object:
    shown = inert(value)
    return encodable(shown) if isinstance(shown, str) else shown


def _print_markdown(rows: Sequence[Mapping[str, Any]]) -> None:
    sys.stdout.write(markdown(*_table(rows, None)))
