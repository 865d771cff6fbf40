"""What does the page of a session cost, and how large is it?"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Measurement, bench_argv, cpu_seconds, measurement, repeated
from tests.reporting.sessions import BEGUN, DAY, Ran, write_session

_EARLIER = 10


def measure() -> Iterator[Measurement]:
    """Yield CPU seconds and size of reports with ten earlier sessions, one entry in ten failed."""
    for entries, target in ((30, 3.0), (1000, 8.0)):
        with tempfile.TemporaryDirectory() as name:
            session = _sessions(Path(name), entries)
            page = session / "report.html"
            state = {"XDG_STATE_HOME": str(Path(name) / "state")}
            cost = repeated(lambda: cpu_seconds(bench_argv("report", str(session)), state))  # noqa: B023
            yield measurement(f"report of {entries:,} entries", "CPU s", cost, target)
            yield measurement(f"size of the report of {entries:,} entries", "MB", [page.stat().st_size / 1e6], 2.0)


def _sessions(folder: Path, entries: int) -> Path:
    for day in range(1, _EARLIER + 1):
        write_session(folder / f"session_{day}", *_entries(entries, day), at=BEGUN - day * DAY)
    return write_session(folder / "session", *_entries(entries, 0)).layout.root


def _entries(count: int, day: int) -> list[Ran]:
    """Return entries whose figures differ from day to day: what never changes has no plot."""
    return [
        Ran(
            name=f"entry_{number:04}",
            modes=("success",) if number % 10 else ("node_fail", "crash"),
            metrics={"items_per_s": 100.0 + number + day, "loss": 1 / (1 + number + day), "tokens": number * (1 + day)},
            parameters={"lr": 1e-4 * number, "batch": number % 4},
            stderr="a line of a log\n" * 100,
            seconds=60.0 + (number * 7 + day * 3) % 60,
        )
        for number in range(count)
    ]
