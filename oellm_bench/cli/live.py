"""What a person sees while a monitor runs: a live table on a terminal, one line per change elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich.live import Live
from rich.table import Table

from oellm_bench.cli.table import console, table
from oellm_bench.monitor import Monitor
from oellm_bench.state.model import AttemptState, EntryState
from oellm_bench.units import format_duration
from oellm_bench.view import entry_row

COLUMNS = ("entry", "state", "attempt", "job", "node", "elapsed", "progress", "signal", "reason")
_MOST_ROWS = 40  # a refresh of a thousand rows takes longer than a second


class LiveTable:
    """Shows the entries of a monitored session on stderr."""

    def __init__(self, monitor: Monitor) -> None:
        self._monitor = monitor
        self._console = console(stderr=True)
        self._live = Live(console=self._console, auto_refresh=False) if self._console.is_terminal else None
        self._shown: dict[str, tuple[object, ...]] = {}
        self._told: set[tuple[str, int]] = set()

    def __enter__(self) -> LiveTable:
        if self._live is not None:
            self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.__exit__(kind, error, trace)

    def _tell_ended(self, name: str, entry: EntryState | None) -> None:
        """Print how attempts before the last one ended; of the last one its entry's line tells."""
        for attempt in entry.attempts[:-1] if entry is not None else ():
            if (name, attempt.number) not in self._told:
                self._told.add((name, attempt.number))
                sys.stderr.write(ended_line(name, attempt, attempt.decision) + "\n")

    def update(self) -> None:
        """Show what has changed since the last call."""
        now = self._monitor.clock.now()
        state = self._monitor.store.state
        rows = [entry_row(planned, state.entries.get(planned.id), now) for planned in self._monitor.plan.entries]
        if self._live is not None:
            self._live.update(status_table(rows[:_MOST_ROWS]), refresh=True)
            return
        for planned in self._monitor.plan.entries:
            self._tell_ended(planned.name, state.entries.get(planned.id))
        for row in rows:
            key = (row["state"], row["attempt"], row["error_mode"])
            if self._shown.get(row["id"]) != key:
                self._shown[row["id"]] = key
                sys.stderr.write(change_line(row) + "\n")
        sys.stderr.flush()


def ended_line(name: str, attempt: AttemptState, decision: str) -> str:
    """Return how an attempt ended and what follows, as `key=value` words."""
    mode = attempt.mode.value if attempt.mode is not None else ""
    words = [f"entry={name}", f"attempt={attempt.number}", f"ended={mode}"]
    words += [f"reason={attempt.reason!r}"] if attempt.reason else []
    return " ".join([*words, *([f"then={decision!r}"] if decision else [])])


def change_line(row: dict[str, Any]) -> str:
    """Return one event per line, as `key=value` words."""
    words = [f"entry={row['name']}", f"state={row['state']}", f"attempt={row['attempt']}"]
    words += [f"{key}={row[name]}" for key, name in (("job", "job_id"), ("node", "node")) if row[name]]
    if row["error_mode"] and row["error_mode"] != "success":
        words += [f"error_mode={row['error_mode']}"]
    if row["reason"]:
        words.append(f"reason={row['reason']!r}")
    return " ".join(words)


def _progress_text(progress: dict[str, Any]) -> str:
    """Return how far an entry is: `120/1000`, or the iteration alone."""
    parts = [str(progress[name]) for name in ("iteration", "total") if name in progress]
    return "/".join(parts)


def status_table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return the rows of `status` as a table."""
    return table(
        COLUMNS,
        [
            (
                row["name"],
                row["state"],
                row["attempt"],
                row["job_id"],
                row["node"],
                format_duration(row["elapsed_s"]),
                _progress_text(row.get("progress") or {}),
                row["last_signal"],
                row["reason"],
            )
            for row in rows
        ],
    )
