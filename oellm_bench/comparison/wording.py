"""Comparisons in words, the same in a terminal as on a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from oellm_bench.comparison.compare import Comparison, Row
from oellm_bench.comparison.series import Series
from oellm_bench.comparison.verdict import Verdict

_MOST_LEFT_OUT = 10


def by_interest(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with what matters most first: worse, better, changed, same, inconclusive."""
    order = list(Verdict)
    return sorted(rows, key=lambda row: order.index(row.answer.verdict))


def percent(share: float | None) -> str | None:
    """Return a difference in percent with its sign, None for none."""
    return None if share is None else f"{100 * share:+.3g} %"


def interval(row: Row) -> str | None:
    """Return the interval of a difference, None where nothing is known of the noise."""
    low, high = row.answer.shift.low, row.answer.shift.high
    return None if low is None or high is None else f"{percent(low)} to {percent(high)}"


def counted(comparison: Comparison) -> str:
    """Return how many metrics have which verdict."""
    counts = ", ".join(f"{count} {verdict.value}" for verdict in Verdict if (count := comparison.count(verdict)))
    return counts or "nothing was measured on both sides"


def entries_told(comparison: Comparison) -> Iterator[str]:
    """Yield what is to be said of whole entries, the worst first."""
    for what, names in (
        ("passed in the baseline and does not end as expected now", comparison.failing),
        ("is in the baseline only", comparison.gone),
        ("is not in the baseline", comparison.new),
    ):
        yield from (f"{name} {what}" for name in names)


def left_out(comparison: Comparison) -> Iterator[str]:
    """Yield what was not compared, and why."""
    for item in comparison.left_out[:_MOST_LEFT_OUT]:
        yield f"not compared: {' '.join(filter(None, (item['entry'], item['metric'])))}: {item['reason']}"
    if len(comparison.left_out) > _MOST_LEFT_OUT:
        yield f"not compared: {len(comparison.left_out) - _MOST_LEFT_OUT} more; `compare --json` has all"


def level_change(series: Series, index: int) -> str:
    """Return how the level of a series changed at one of its `changes`."""
    old, new = series.levels(index)
    relative = f" ({percent((new - old) / abs(old))})" if old else ""
    return f"a new level: {old:.4g} -> {new:.4g}{relative}"
