"""Turn what a script left behind into the normalised result of its entry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oellm_bench.core.layout import EntryLayout
from oellm_bench.core.plan import PlannedEntry
from oellm_bench.core.result import EntryResult, ErrorMode, ExitRecord, flat_stages
from oellm_bench.results.reading import ReadObject, read_object
from oellm_bench.results.requirements import Judgement, judge


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
    params = read_object(layout.benchmark_results / "params.json")
    metrics = read_object(layout.benchmark_results / "metrics.json")
    stages = read_object(layout.benchmark_results / "tasks.json").values.get("stages", {})
    exec_time_s = None if record.returncode is None else max(0.0, record.ended_at - record.started_at)
    mode, reason = _verdict(entry, record, metrics)
    judged = Judgement(missed=(), told=())
    if mode is ErrorMode.SUCCESS:
        own = {**(resources or {}), "exec_time_s": exec_time_s}
        judged = judge(entry.requirements, {**own, **flat_stages(stages), **metrics.values, "exec_time_s": exec_time_s})
        if judged.missed:
            mode, reason = ErrorMode.REQUIREMENTS_NOT_MET, "; ".join(judged.missed)
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
        requirements_not_met=judged.missed,
        requirements_told=judged.told,
    )


def _verdict(entry: PlannedEntry, record: ExitRecord, metrics: ReadObject) -> tuple[ErrorMode, str]:
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
