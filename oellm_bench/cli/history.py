"""`history`: a metric over the sessions of a campaign."""

from __future__ import annotations

import argparse

from oellm_bench.cli.table import cell, console, print_json, table
from oellm_bench.comparison.series import SCHEMA_VERSION, Series, history
from oellm_bench.comparison.wording import level_change
from oellm_bench.errors import EXIT_DONE
from oellm_bench.log import set_up
from oellm_bench.session import campaign_of

_BARS = "▁▂▃▄▅▆▇█"
_PLAIN_BARS = "_.,-~=^#"  # where stdout has no blocks
_WIDEST = 80  # points of the line; the newest


def run(args: argparse.Namespace) -> int:
    """Print each series, its line, and where its level changed."""
    set_up(verbose=args.verbose)
    session = campaign_of(args.session)
    found = history(session, args.metric, tuple(args.entry))
    if args.json:
        documents = [series.to_document() for series in found]
        print_json({"schema_version": SCHEMA_VERSION, "project": session.project, "series": documents})
        return EXIT_DONE
    for series in found:
        _print(series)
    return EXIT_DONE


def _print(series: Series) -> None:
    out = console()
    values = [point.median for point in series.points]
    out.print(f"{cell(series.entry)} {cell(series.metric)}  {sparkline(values, _bars(out.encoding))}")
    rows = []
    for index, point in enumerate(series.points):
        document = point.to_document()
        note = level_change(series, index) if index in series.changes else ""
        names = ("created", "session", "median", "n", "commit", "environment")
        rows.append([*(document[name] for name in names), note])
    out.print(table(("created", "session", "median", "n", "commit", "environment", "note"), rows))


def _bars(encoding: str) -> str:
    try:
        _BARS.encode(encoding)
    except (LookupError, UnicodeEncodeError):
        return _PLAIN_BARS
    return _BARS


def sparkline(values: list[float], bars: str = _BARS) -> str:
    """Return one character for each value, the newest last; lowest and highest of them are the ends of the scale."""
    shown = values[-_WIDEST:]
    low, high = min(shown), max(shown)
    half = high / 2 - low / 2  # halves: the largest floats have no difference
    if not half > 0:
        return bars[len(bars) // 2] * len(shown)
    return "".join(bars[min(len(bars) - 1, int((value / 2 - low / 2) / half * len(bars)))] for value in shown)
