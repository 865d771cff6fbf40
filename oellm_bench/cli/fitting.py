"""A wide table on a screen that is not: the columns that fit, the notes below, and what was left out."""

from __future__ import annotations

from collections.abc import Sequence

from oellm_bench.cli.table import cell, console, table

_GAP = 2  # between two columns
_FIRST = ("entry", "result", "exec_time_s", "attempts", "requirements")


def print_fitting(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print a table whose last column is a note; on a screen too narrow for all of it, what matters most."""
    out = console()
    widths = [max(len(cell(value)) for value in column) for column in zip(header, *rows, strict=True)]
    if sum(widths) + _GAP * len(widths) <= out.width:
        out.print(table(header, rows))
        return
    shown = _fitting(header[:-1], widths[:-1], out.width)
    out.print(table([header[place] for place in shown], [[row[place] for place in shown] for row in rows]))
    for row in rows:
        if row[-1]:
            out.print(f"{cell(row[0])}: {cell(row[-1])}")
    left_out = [name for place, name in enumerate(header[:-1]) if place not in shown]
    if left_out:
        out.print(f"no room for {cell(', '.join(left_out))}; --md, --csv, --json have all")


def _fitting(header: Sequence[str], widths: Sequence[int], room: int) -> list[int]:
    """Return the places of the columns that fit, in their order: the most important ones first, one at least."""
    rank = {name: number for number, name in enumerate(_FIRST)}
    chosen: list[int] = []
    for place in sorted(range(len(header)), key=lambda place: rank.get(header[place], len(rank))):
        room -= widths[place] + _GAP
        if chosen and room < 0:
            break
        chosen.append(place)
    return sorted(chosen)
