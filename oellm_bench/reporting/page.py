"""A report as one HTML page that needs nothing else: no script, no request, whatever jobs wrote is text."""

from __future__ import annotations

import os
import urllib.parse
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from oellm_bench.clock import utc_text
from oellm_bench.comparison.compare import Comparison, Row
from oellm_bench.comparison.verdict import Verdict
from oellm_bench.comparison.wording import by_interest, counted, entries_told, interval, left_out, percent
from oellm_bench.core.metric import finite_number
from oellm_bench.reporting.drawing import drawing
from oellm_bench.reporting.mermaid import mermaid
from oellm_bench.reporting.plots import plots
from oellm_bench.reporting.report import EntryReport, Report, Standing
from oellm_bench.reporting.stage_chart import MOST_STAGES, stage_chart
from oellm_bench.reporting.timeline import timeline
from oellm_bench.reporting.visible import visible
from oellm_bench.units import format_duration

MOST_ROWS = 300
MOST_FAILURES = 30
_MOST_METRICS = 8  # columns
_MOST_PARAMETERS = 8
_MOST_VALUES = 200  # that a page shows of one entry's
_MOST_BOUNDS = 300
_TELLING = (Verdict.WORSE, Verdict.BETTER, Verdict.CHANGED)
_NOTHING = "\u2013"  # a dash that is as wide as a digit
_RESOURCES = {
    "cpu_s": ("CPU time", "duration"),
    "peak_rss_bytes": ("memory at most", "size"),
    "peak_processes": ("processes at most", "figure"),
    "peak_gpu_memory_bytes": ("GPU memory at most", "size"),
    "gpu_utilization_percent": ("GPU use, %", "figure"),
    "peak_gpu_power_w": ("GPU power at most, W", "figure"),
    "read_bytes": ("read", "size"),
    "write_bytes": ("written", "size"),
}


def render(report: Report, output: Path) -> str:
    """Return the page; its links are relative to where it will lie. It holds the most interesting, and says so."""
    import jinja2
    from markupsafe import Markup, escape

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("oellm_bench.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printed,
    )
    environment.filters |= {
        "duration": _duration,
        "size": _size,
        "figure": _figure,
        "date": lambda at: utc_text(at).replace("T", " ").replace("Z", " UTC"),
        "log": lambda text: escape(visible(text, None)),
    }

    folder = os.path.relpath(report.session_dir, output.parent)

    def link(path: str) -> Markup:
        return Markup("./") + urllib.parse.quote(f"{folder}/{path}", errors="replace")

    figures = [
        {"plot": found, "svg": Markup(drawing(found, f"plot{number}"))}  # noqa: S704  escaped by its writer
        for number, found in enumerate(plots(report), 1)
    ]
    return environment.get_template("report.html.j2").render(
        report=report,
        link=link,
        standing=Standing,
        timeline=timeline(report),
        chart=stage_chart(report.stages) if report.stages else None,
        mermaid=mermaid(report.stages[:MOST_STAGES]),
        figures=figures,
        compared=_compared(report),
        failures=report.failed[:MOST_FAILURES],
        rows=report.by_interest[:MOST_ROWS],
        columns=_columns(report),
        resources=_resources(report.by_interest[:MOST_ROWS]),
        **_bounds(report),
    )


def _bounds(report: Report) -> dict[str, Any]:
    """Return the requirements of all entries, those that do not hold first."""
    found = [(entry, bound) for entry in report.entries for bound in entry.bounds]
    missed = [pair for pair in found if pair[1].is_missed]
    others = [pair for pair in found if not pair[1].is_missed]
    return {
        "bounds": [*missed, *others],
        "bounds_not_held": missed[:_MOST_BOUNDS],
        "not_held_in_all": len(missed),
        "bounds_held": others[:_MOST_BOUNDS],
        "held_in_all": len(others),
    }


def _printed(value: Any) -> Any:
    """Return what stands in the page for a value that the template prints; what is markup was made visible before."""
    if hasattr(value, "__html__"):
        return value
    return _NOTHING if value is None else visible(str(value))


def _compared(report: Report) -> dict[str, Any] | None:
    """Return what a comparison says, None where there is none: its rows, what matters first, and remarks."""
    comparison = report.past.comparison if report.past is not None else None
    if comparison is None:
        return None
    rows = by_interest(comparison.rows)
    telling = [row for row in rows if row.answer.verdict in _TELLING]
    others = [row for row in rows if row.answer.verdict not in _TELLING]
    return {
        "comparison": comparison,
        "worse": comparison.count(Verdict.WORSE),
        "counted": counted(comparison),
        "told": list(entries_told(comparison))[:_MOST_BOUNDS],
        "left_out": list(left_out(comparison)),
        "telling": [_row(row) for row in telling[:_MOST_BOUNDS]],
        "telling_in_all": len(telling),
        "others": [_row(row) for row in others[:_MOST_BOUNDS]],
        "others_in_all": len(others),
        "by_group": _by_group(comparison),
    }


def _row(row: Row) -> dict[str, Any]:
    return {**row.to_document(), "difference": percent(row.answer.shift.estimate), "interval": interval(row)}


def _by_group(comparison: Comparison) -> dict[str, str]:
    """Return how many metrics have which verdict, by group."""
    found: dict[str, Counter[str]] = {}
    for row in by_interest(comparison.rows):
        found.setdefault(row.entry, Counter())[row.answer.verdict.value] += 1
    return {group: ", ".join(f"{n} {verdict}" for verdict, n in counts.items()) for group, counts in found.items()}


def _columns(report: Report) -> dict[str, Any]:
    """Return the parameters and metrics that have a column, and how many metrics have none."""
    shown = report.by_interest[:MOST_ROWS]
    parameters = [*dict.fromkeys(name for entry in shown for name in [*entry.parameters][:_MOST_VALUES])]
    required = dict.fromkeys(bound.metric for entry in shown for bound in entry.bounds)
    found = dict.fromkeys(name for entry in shown for name in [*entry.metrics][:_MOST_VALUES])
    metrics = [name for name in dict.fromkeys([*required, *found]) if name in found and name != "is_success"]
    return {
        "parameters": parameters[:_MOST_PARAMETERS],
        "metrics": metrics[:_MOST_METRICS],
        "left_out": max(len(metrics) - _MOST_METRICS, 0) + max(len(parameters) - _MOST_PARAMETERS, 0),
    }


def _resources(entries: Sequence[EntryReport]) -> dict[str, Any]:
    """Return the columns of what entries used that anything is known of."""
    known = {name for entry in entries for name in entry.resources}
    return {name: column for name, column in _RESOURCES.items() if name in known}


def _figure(value: object) -> str:
    """Return a number with four digits that count, True and text as they are."""
    number = finite_number(value)
    if number is None:
        return _NOTHING if value is None else visible(str(value), 80)
    if isinstance(value, int) or number.is_integer():
        return f"{int(number):,}" if abs(number) < 1e15 else f"{number:.4g}"
    return f"{number:,.1f}" if 1000 <= abs(number) < 1e9 else f"{number:.4g}"


def _duration(value: object) -> str:
    number = finite_number(value)
    return _NOTHING if number is None or not 0 <= number < 1e12 else format_duration(number)


def _size(value: object) -> str:
    number = finite_number(value)
    if number is None:
        return _NOTHING
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if number >= 1024**power:
            return f"{number / 1024**power:.3g} {unit}"
    return f"{number:.0f} B"
