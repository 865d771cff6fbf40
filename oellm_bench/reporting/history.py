"""What earlier sessions of a project measured."""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from oellm_bench.core.plan import read_plan
from oellm_bench.errors import BenchError
from oellm_bench.fileio import open_file
from oellm_bench.reporting.report import PastSession, Samples
from oellm_bench.results.reading import read_object
from oellm_bench.session import Session, known_sessions, sessions_in

DEFAULT_SESSIONS = 20
_LARGEST_BYTES = 64 << 20  # of a results.jsonl; entries of ordinary size have about 1 KB


def earlier_sessions(session: Session, most: int) -> list[Session]:
    """Return the `most` newest sessions of the same project that are older than this one, oldest first."""
    beside = [path.parent for path in Path(session.session_dir).parent.glob("*/session.json")]
    folders = dict.fromkeys([*beside, *known_sessions()])
    before = (
        other
        for other in sessions_in(folders)
        if other.project == session.project and other.created_at < session.created_at and other.id != session.id
    )
    return heapq.nlargest(most, before, key=lambda other: other.created_at)[::-1]


def past_session(session: Session, *, is_baseline: bool = False) -> PastSession:
    """Read what a session measured; nothing where its files cannot be read."""
    return PastSession(id=session.id, created_at=session.created_at, samples=_samples(session), is_baseline=is_baseline)


def collect_samples(measured: Iterable[tuple[str, Mapping[str, float]]]) -> Samples:
    """Return the samples of (group, metrics) pairs."""
    found: dict[str, dict[str, tuple[float, ...]]] = {}
    for group, metrics in measured:
        of_group = found.setdefault(group, {})
        for name, value in metrics.items():
            of_group[name] = (*of_group.get(name, ()), value)
    return found


def numbers(metrics: Mapping[str, Any], exec_time_s: Any = None) -> dict[str, float]:
    """Return the metrics that are finite numbers, the run time among them."""
    return {
        name: number
        for name, value in {**metrics, "exec_time_s": exec_time_s}.items()
        if (number := finite(value)) is not None
    }


def finite(value: Any) -> float | None:
    """Return a finite number, None for what is none; true and false are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # an integer beyond every float
        return None


def _samples(session: Session) -> Samples:
    try:
        groups = {entry.id: entry.group or entry.name for entry in read_plan(session.layout.sweep).entries}
    except BenchError:
        return {}
    return collect_samples(
        (groups[result["id"]], numbers(_mapping(result.get("metrics")), result.get("exec_time_s")))
        for result in _results(session, groups)
        if result.get("success") is True and result.get("id") in groups
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _results(session: Session, groups: Mapping[str, str]) -> Iterator[Mapping[str, Any]]:
    """Yield the results of a session: those that the monitor has handed on, else those that the jobs left."""
    lines = _lines(session.layout.results)
    if lines is not None:
        for line in lines:
            try:
                document = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(document, dict) and isinstance(document.get("id"), str):
                yield document
        return
    for entry in read_plan(session.layout.sweep).entries:
        yield read_object(session.layout.entry(entry.name).results).values


def _lines(path: Path) -> list[bytes] | None:
    try:
        with open_file(path) as stream:
            data = stream.read(_LARGEST_BYTES + 1)
    except OSError:
        return None
    return data.splitlines() if len(data) <= _LARGEST_BYTES else []
