"""`compare`: a session against its baseline."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from oellm_bench.cli.table import cell, console, markdown, print_json, table
from oellm_bench.comparison.compare import Comparison, Row, Settings, compare
from oellm_bench.comparison.wording import by_interest, counted, entries_told, interval, left_out, percent
from oellm_bench.core.metric import MetricRule
from oellm_bench.errors import EXIT_DONE, EXIT_NOT_PASSED
from oellm_bench.log import set_up
from oellm_bench.session import find_session

_COLUMNS = ("entry", "metric", "verdict", "baseline", "session", "difference", "interval", "n", "note")


def run(args: argparse.Namespace) -> int:
    """Print the comparison and return 1 where something is worse."""
    set_up(verbose=args.verbose)
    session = find_session(args.session)
    given = find_session(args.baseline) if args.baseline else None
    comparison = compare(session, given, _settings(args))
    sys.stderr.write(f"{session.id} against {comparison.choice.baseline.session.id}: {comparison.choice.why}\n")
    if args.form == "json":
        print_json(comparison.to_document())
    elif args.form == "md":
        sys.stdout.write(markdown(_COLUMNS, [_cells(row) for row in by_interest(comparison.rows)]))
        sys.stdout.write("".join(f"\n{_escaped(line)}\n" for line in _remarks(comparison)))
    else:
        _print(comparison)
    return EXIT_NOT_PASSED if comparison.is_worse else EXIT_DONE


def _settings(args: argparse.Namespace) -> Settings:
    return Settings(
        metrics=tuple(args.metric),
        entries=tuple(args.entry),
        min_effect=args.min_effect,
        confidence=args.confidence,
        history=args.history,
        rules={name: MetricRule(direction=direction) for name, direction in args.direction},
    )


def _print(comparison: Comparison) -> None:
    out = console()
    if comparison.rows:
        out.print(table(_COLUMNS, [_cells(row) for row in by_interest(comparison.rows)]))
    for line in _remarks(comparison):
        out.print(cell(line))


def _cells(row: Row) -> tuple[object, ...]:
    document, pair = row.to_document(), row.question.pair
    return (
        row.entry,
        row.metric,
        document["verdict"],
        document["baseline_median"],
        document["median"],
        percent(document["difference"]),
        interval(row),
        f"{len(pair.before)}/{len(pair.after)}",
        document["reason"],
    )


def _remarks(comparison: Comparison) -> Iterator[str]:
    yield f"{counted(comparison)}; {len(comparison.choice.history)} sessions of history before the baseline"
    yield from entries_told(comparison)
    yield from left_out(comparison)
    for item in comparison.environment:
        yield f"changed: {item['what']}: {item['before'] or 'not known'} -> {item['after'] or 'not known'}"


def _escaped(line: str) -> str:
    return cell(line).replace("|", "\\|").replace("<", "&lt;")
