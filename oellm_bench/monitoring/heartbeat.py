"""Read what an attempt tells of itself while it runs, and what is left of that when it was killed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oellm_bench.results.reading import read_object


def read_heartbeat(path: Path, attempt: int) -> Mapping[str, Any]:
    """Return the latest heartbeat of that attempt; empty where there is none that can be read.

    The command could have written there too: what others rely on has the type they expect, NaN is text.
    """
    beat = read_object(path).writable
    if beat.get("attempt") != attempt or _number(beat.get("at")) is None:
        return {}
    parts = {name: beat.get(name) for name in ("peaks", "progress")}
    return {**beat, **{name: part if isinstance(part, Mapping) else {} for name, part in parts.items()}}


def used(heartbeat: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the attempt used up to its last heartbeat, as `resources` in results.json."""
    names = ("cpu_s", "read_bytes", "write_bytes")
    totals = {name: heartbeat[name] for name in names if isinstance(heartbeat.get(name), int | float)}
    progress = {"progress": heartbeat["progress"]} if heartbeat.get("progress") else {}
    return {**heartbeat.get("peaks", {}), **totals, **progress}


def iteration(heartbeat: Mapping[str, Any]) -> float | None:
    """Return how far the attempt was, None where it told of no iteration."""
    return _number(heartbeat.get("progress", {}).get("iteration"))


def advanced_at(heartbeat: Mapping[str, Any]) -> float | None:
    """Return when the attempt last told of a new iteration (epoch seconds), None where it told of none."""
    at = heartbeat.get("progress", {}).get("at")
    return at if isinstance(at, float) else None


def _number(value: Any) -> float | None:
    """Return a number, None for what is none or too large to reckon with."""
    try:
        return float(value) if isinstance(value, int | float) else None
    except OverflowError:
        return None
