"""Tables and JSON on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

# Wide enough that nothing is cut where no person looks at a screen: pipes, files, CI logs.
_NO_SCREEN = 4000
_LONGEST_CELL = 300  # characters; --json has all of a value


def console(*, stderr: bool = False) -> Console:
    """Return a console that never reads markup in what jobs and users wrote."""
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _NO_SCREEN
    return Console(stderr=stderr, markup=False, highlight=False, emoji=False, width=width)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a plain table; numbers are right-aligned, None is a dash."""
    found = [list(row) for row in rows]
    result = Table(box=None, pad_edge=False, header_style="bold")
    for index, title in enumerate(columns):
        numeric = bool(found) and all(isinstance(row[index], int | float) for row in found)
        result.add_column(
            Text(cell(title)), justify="right" if numeric else "left", no_wrap=index == 0, overflow="fold"
        )
    for row in found:
        result.add_row(*(Text(cell(value)) for value in row))
    return result


def markdown(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table as Markdown; text of jobs makes neither columns nor HTML of its own."""
    lines = [[cell(value).replace("|", "\\|").replace("<", "&lt;") for value in line] for line in [columns, *rows]]
    lines.insert(1, ["---"] * len(columns))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def cell(value: object) -> str:
    """Return a value as it stands in a table: short, control characters out, fit for stdout."""
    if value is None or value == "":
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    text = str(value)
    if len(text) > _LONGEST_CELL:
        text = f"{text[: _LONGEST_CELL - 3]}..."
    return "".join(character if character.isprintable() else " " for character in encodable(text))


def encodable(text: str) -> str:
    """Return a text that stdout can take: what its encoding has no bytes for is written as an escape."""
    encoding = sys.stdout.encoding or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def print_json(document: Any) -> None:
    """Print one JSON document."""
    sys.stdout.write(json.dumps(document, indent=1, allow_nan=False) + "\n")
