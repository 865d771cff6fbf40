"""`compare`: a session against its baseline."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from oellm_bench.cli.table import cell, console, markdown, print_json, table
from oellm_bench.comparison.compare import Comparison, Row, Settings, compare
from oellm_bench.comparison.verdict import Verdict
from oellm_bench.core.metric import MetricRule
from oellm_bench.errors import EXIT_DONE, EXIT_NOT_PASSED
from oellm_bench.log import set_up
from oellm_bench.session import find_session

_COLUMNS = ("entry", "metric", "verdict", "baseline", "session", "difference", "interval", "n", "note")
_MOST_LINES = 10  # of what is left out


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
        sys.stdout.write(markdown(_COLUMNS, [_cells(row) for row in _sorted(comparison.rows)]))
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
        out.print(table(_COLUMNS, [_cells(row) for row in _sorted(comparison.rows)]))
    for line in _remarks(comparison):
        out.print(cell(line))


def _sorted(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with what matters most first."""
    order = list(Verdict)
    return sorted(rows, key=lambda row: order.index(row.answer.verdict))


def _cells(row: Row) -> tuple[object, ...]:
    document, pair = row.to_document(), row.question.pair
    low, high = document["interval"]
    return (
        row.entry,
        row.metric,
        document["verdict"],
        document["baseline_median"],
        document["median"],
        _percent(document["difference"]),
        None if low is None or high is None else f"{_percent(low)} to {_percent(high)}",
        f"{len(pair.before)}/{len(pair.after)}",
        document["reason"],
    )


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:+.3g} %"


def _remarks(comparison: Comparison) -> Iterator[str]:
    counts = ", ".join(f"{count} {verdict.value}" for verdict in Verdict if (count := comparison.count(verdict)))
    past = f"{len(comparison.choice.history)} earlier sessions of history"
    yield f"{counts or 'nothing was measured on both sides'}; {past}"
    for what, names in (
        ("passed in the baseline and does not end as expected now", comparison.failing),
        ("is in the baseline only", comparison.gone),
        ("is not in the baseline", comparison.new),
    ):
        yield from (f"{name} {what}" for name in names)
    for item in comparison.left_out[:_MOST_LINES]:
        yield f"not compared: {' '.join(filter(None, (item['entry'], item['metric'])))}: {item['reason']}"
    if len(comparison.left_out) > _MOST_LINES:
        yield f"not compared: {len(comparison.left_out) - _MOST_LINES} more; --json has all"
    for item in comparison.environment:
        yield f"changed: {item['what']}: {item['before'] or 'not known'} -> {item['after'] or 'not known'}"


def _escaped(line: str) -> str:
    return cell(line).replace("|", "\\|").replace("<", "&lt;")
