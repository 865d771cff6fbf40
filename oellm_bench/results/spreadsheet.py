"""Results as rows of a spreadsheet, whatever scripts wrote into them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from oellm_bench.results.reading import encodable

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_PLAIN = ("name", "id", "group", "success", "error_mode", "reason", "attempt", "returncode", "exec_time_s")
_MAPPINGS = ("parameters", "metrics")


def inert(value: object) -> object:
    """Return a value that no spreadsheet reads as a formula and every file can hold; nothing for None."""
    if value is None:
        return ""
    value = encodable(value)
    return f"'{value}" if isinstance(value, str) and value[:1] in _FORMULA else value


def to_csv(results: Iterable[Mapping[str, Any]]) -> str:
    """Return results as CSV: a row each, with a column for every scalar parameter and metric that any of them has."""
    rows = [_row(result) for result in results]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    lines: list[list[Any]] = [columns, *([row.get(name) for name in columns] for row in rows)]
    writer.writerows([inert(value) for value in line] for line in lines)
    return text.getvalue()


def _row(result: Mapping[str, Any]) -> dict[str, Any]:
    row = {name: result.get(name) for name in _PLAIN}
    for kind in _MAPPINGS:
        values = result.get(kind) or {}
        row |= {f"{kind}.{name}": value for name, value in values.items() if not isinstance(value, list | dict)}
    return {**row, "requirements_not_met": "; ".join(result.get("requirements_not_met") or ())}
