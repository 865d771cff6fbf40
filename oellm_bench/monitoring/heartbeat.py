"""Read what an attempt tells of itself while it runs, and what is left of that when it was killed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oellm_bench.errors import StateError
from oellm_bench.fileio import read_json


def read_heartbeat(path: Path, attempt: int) -> Mapping[str, Any]:
    """Return the latest heartbeat of that attempt; empty where there is none that can be read."""
    try:
        document = read_json(path)
    except StateError:
        return {}
    return document if isinstance(document, dict) and document.get("attempt") == attempt else {}


def used(heartbeat: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the attempt used up to its last heartbeat, as `resources` in results.json."""
    totals = {name: heartbeat[name] for name in ("cpu_s", "read_bytes", "write_bytes") if name in heartbeat}
    progress = {"progress": heartbeat["progress"]} if heartbeat.get("progress") else {}
    return {**totals, **heartbeat.get("peaks", {}), **progress}


def advanced_at(heartbeat: Mapping[str, Any]) -> float | None:
    """Return when the attempt last told of a new iteration (epoch seconds), None where it told of none."""
    at = (heartbeat.get("progress") or {}).get("at")
    return at if isinstance(at, float) else None
