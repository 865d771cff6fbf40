"""Turn what a script left behind into the normalised result of its entry."""

from __future__ import annotations

import errno
import json
import math
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oellm_bench.core.layout import EntryLayout
from oellm_bench.core.plan import PlannedEntry
from oellm_bench.core.result import EntryResult, ErrorMode, ExitRecord
from oellm_bench.results.requirements import unmet

_DEEPEST = 50
_LARGEST_BYTES = 8 << 20  # a result is a handful of numbers; data belongs into files of its own


def collect(
    entry: PlannedEntry,
    record: ExitRecord,
    layout: EntryLayout,
    note: str = "",
    resources: Mapping[str, Any] | None = None,
) -> EntryResult:
    """Return the result of the attempt that `record` tells of, from its benchmark_results folder.

    The record's own failure comes first, then the exit code, the file contract, the script's `is_success`
    and the requirements. Metrics are kept whatever the outcome. NaN and infinity become strings. `note` is added to
    the reason of a success. A requirement may name a figure of a stage: `task_<stage>_<metric>_<sum|mean|std|count>`.
    """
    params = _read_object(layout.benchmark_results / "params.json")
    metrics = _read_object(layout.benchmark_results / "metrics.json")
    stages = _read_object(layout.benchmark_results / "tasks.json").values.get("stages", {})
    exec_time_s = None if record.returncode is None else max(0.0, record.ended_at - record.started_at)
    mode, reason = _verdict(entry, record, metrics)
    missed: tuple[str, ...] = ()
    if mode is ErrorMode.SUCCESS:
        own = {**(resources or {}), "exec_time_s": exec_time_s}
        missed = unmet(entry.requirements, {**own, **_flat(stages), **metrics.values, "exec_time_s": exec_time_s})
        if missed:
            mode, reason = ErrorMode.REQUIREMENTS_NOT_MET, "; ".join(missed)
        else:
            notes = [f"{found.defect}; left out" for found in (params, metrics) if found.is_broken]
            reason = "; ".join([*notes, *([note] if note else [])])
    return EntryResult(
        name=entry.name,
        id=entry.id,
        attempt=record.attempt,
        success=mode is ErrorMode.SUCCESS,
        error_mode=mode.value,
        reason=reason,
        returncode=record.returncode,
        exec_time_s=exec_time_s,
        started_at=record.started_at,
        ended_at=record.ended_at,
        parameters=entry.parameters,
        params=params.writable,
        metrics=metrics.writable,
        stages=stages if isinstance(stages, Mapping) else {},
        resources=resources or {},
        requirements_not_met=missed,
    )


def _flat(stages: Any) -> dict[str, Any]:
    """Return the figures of the stages under one name each; nothing where they are not of our shape."""
    try:
        return {
            f"task_{stage}_{metric}_{figure}": value
            for stage, metrics in stages.items()
            for metric, figures in metrics.items()
            for figure, value in figures.items()
        }
    except AttributeError:
        return {}


@dataclass(frozen=True, kw_only=True)
class _Object:
    """A JSON object from a file, as read and as JSON can hold it, or why there is none."""

    values: Mapping[str, Any] = field(default_factory=dict)
    writable: Mapping[str, Any] = field(default_factory=dict)
    defect: str = ""
    is_broken: bool = False


def _verdict(entry: PlannedEntry, record: ExitRecord, metrics: _Object) -> tuple[ErrorMode, str]:
    """Return how the attempt ended, requirements left aside, and why."""
    if record.failure:
        return ErrorMode(record.failure), record.message
    if record.returncode != 0:
        return ErrorMode.CRASH, record.message or _code_text(record.returncode)
    if metrics.defect and entry.contract:
        return ErrorMode.CONTRACT_ERROR, f"exit code 0, but {metrics.defect}"
    claim = metrics.values.get("is_success", True)
    if claim is False:
        return ErrorMode.CRASH, "metrics.json says is_success: false"
    if claim is not True and entry.contract:
        return (
            ErrorMode.CONTRACT_ERROR,
            f"is_success in metrics.json is neither true nor false: {claim!r:.60}",
        )
    return ErrorMode.SUCCESS, ""


def _code_text(returncode: int | None) -> str:
    if returncode is None:
        return "the command never ran"
    return f"ended by signal {-returncode}" if returncode < 0 else f"exit code {returncode}"


def _read_object(path: Path) -> _Object:
    name = f"{path.parent.name}/{path.name}"
    try:
        size = _size(path)
        if size > _LARGEST_BYTES:
            return _Object(defect=f"{name} is too large ({size} bytes, at most {_LARGEST_BYTES})", is_broken=True)
        document = json.loads(path.read_text(encoding="utf-8"))
        writable = _finite(document)
    except (FileNotFoundError, NotADirectoryError):
        return _Object(defect=f"{name} is absent")
    except OSError as err:
        return _Object(defect=f"{name} cannot be read ({err.strerror})", is_broken=True)
    except (ValueError, RecursionError) as err:
        return _Object(defect=f"{name} is not valid JSON ({err})", is_broken=True)
    if not isinstance(document, dict):
        return _Object(defect=f"{name} holds {_JSON_NAMES[type(document)]}, not an object", is_broken=True)
    return _Object(values=document, writable=writable)


def _size(path: Path) -> int:
    """Return the size in bytes. Raises OSError for what is no file: a FIFO would be waited for without end."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, f"it is {_KINDS.get(stat.S_IFMT(status.st_mode), 'no file')}, not a file")
    return status.st_size


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}

_JSON_NAMES = {
    list: "an array",
    str: "a string",
    int: "a number",
    float: "a number",
    bool: "true or false",
    type(None): "null",
}


def _finite(value: Any, depth: int = 0) -> Any:
    """Return the value with NaN and infinity as the strings "nan", "inf" and "-inf", at any depth.

    Raises ValueError where it is nested so deeply that it could not be written again.
    """
    if depth > _DEEPEST:
        raise ValueError(f"nested more than {_DEEPEST} levels deep")
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: _finite(item, depth + 1) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item, depth + 1) for item in value]
    return value
