"""`make bench [-- NAME...]`: one table with targets, and benchmarks/results.json."""

from __future__ import annotations

import importlib
import json
import platform
import sys
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

QUESTIONS = (
    "start_up",
    "planning",
    "configuring",
    "job",
    "ray_head",
    "matrix",
    "watching",
    "reporting",
    "comparing",
    "cluster",
)
RESULTS = Path("bench-results.json")


def main(names: list[str]) -> int:
    """Run the benchmarks and return 1 where a target is missed."""
    rows = []
    for name in names or QUESTIONS:
        for row in importlib.import_module(f"benchmarks.{name}").measure():
            rows.append(row)
            sys.stderr.write(f"{row.question}: {row.value:.3g} {row.unit}\n")
    table = Table("question", "median", "min", "max", "unit", "target", "")
    for row in rows:
        verdict = {True: "met", False: "MISSED", None: ""}[row.met]
        target = "" if row.target is None else f"{row.target:g}"
        low, high = min(row.samples), max(row.samples)
        table.add_row(row.question, f"{row.value:.3g}", f"{low:.3g}", f"{high:.3g}", row.unit, target, verdict)
    Console(width=120).print(table)
    document = {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "rows": [{**asdict(row), "met": row.met} for row in rows],
    }
    RESULTS.write_text(json.dumps(document, indent=1) + "\n")
    return 0 if all(row.met is not False for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
