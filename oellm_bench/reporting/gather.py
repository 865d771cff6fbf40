"""Read a session from disk into a report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import oellm_bench
from oellm_bench.comparison.environment import environment_of
from oellm_bench.core.expectation import expectation_note, is_as_expected
from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.metric import finite_number
from oellm_bench.core.plan import Plan, PlannedEntry, read_plan
from oellm_bench.core.requirement import Requirement
from oellm_bench.core.result import EntryResult, ErrorMode
from oellm_bench.fileio import log_end
from oellm_bench.outbox import leftovers
from oellm_bench.reporting.environment import environment_report
from oellm_bench.reporting.report import (
    AttemptReport,
    Bound,
    EntryReport,
    EnvironmentReport,
    LogTail,
    Report,
    StageReport,
    Standing,
    Told,
)
from oellm_bench.results.requirements import Judgement, is_judged, judge, limits, required, unit_of, unmet
from oellm_bench.session import Session
from oellm_bench.stages import is_worth_drawing, stages_of
from oellm_bench.state.model import AttemptState, EntryState, SessionState
from oellm_bench.view import entry_state, final_result

if TYPE_CHECKING:
    from oellm_bench.reporting.past import Past

_RESULTS_BYTES = 128 << 20  # of all results.json together: beyond that they are no longer read
_MOST_LOGS = 50  # failed entries whose logs are read
_LOG_BYTES = 6000
_LOG_LINES = 30
_MOST_METRICS = 100  # of an entry
_MOST_NOTICES = 50


def gather(session: Session, *, now: float, past: Past | None = None) -> Report:
    """Return the report of a session, finished or not, beside its past where that is given.

    Raises StateError where its plan or its journal cannot be read.
    """
    plan, state = read_plan(session.layout.sweep), session.store().state
    reader = _Reader(session.layout)
    selected = [(planned, state.entries[planned.id]) for planned in plan.entries if planned.id in state.entries]
    names = {entry.id: entry.name for entry in plan.entries}
    entries = tuple(reader.entry(planned, entry) for planned, entry in selected)
    return Report(
        session=session.id,
        project=session.project,
        session_dir=session.session_dir,
        created_at=session.created_at,
        now=now,
        finished=bool(selected) and all(entry.over for _, entry in selected),
        version=oellm_bench.__version__,
        run_reason=session.run_reason,
        planned=len(plan.entries),
        entries=entries,
        stages=_stages(plan, entries),
        past=past,
        environment=_environment(session, past, (planned.name for planned, entry in selected if entry.over)),
        notices=_notices(state, names),
        # Until then what sinks have not taken is on its way.
        untold=tuple(map(str, leftovers(session.sinks, plan, state))) if state.finished else (),
        command_line=session.command_line,
    )


def _stages(plan: Plan, entries: Sequence[EntryReport]) -> tuple[StageReport, ...]:
    stages = stages_of(plan)
    if not is_worth_drawing(stages):
        return ()
    standings = {entry.id: entry.standing for entry in entries}
    return tuple(
        StageReport(
            name=stage.name,
            planned=len(stage.entries),
            after=stage.after,
            counts=Counter(standings[entry.id] for entry in stage.entries if entry.id in standings),
        )
        for stage in stages
    )


def _environment(session: Session, past: Past | None, over: Iterable[str]) -> EnvironmentReport:
    if past is None:
        return environment_report(environment_of(session, over), None)
    if past.before is None:
        return environment_report(past.subject.environment, None)
    return environment_report(past.subject.environment, past.before.environment, past.before.session.id)


def _notices(state: SessionState, names: Mapping[str, str]) -> tuple[Told, ...]:
    latest = [*state.notices.values()][-_MOST_NOTICES:]
    return tuple(Told(at=told.at, entry=names.get(told.entry, ""), message=told.message) for told in latest)


class _Reader:
    """Reads entries one after the other, within bounds on what is read of all of them together."""

    def __init__(self, layout: SessionLayout) -> None:
        self._layout = layout
        self._bytes_left = _RESULTS_BYTES
        self._logs_left = _MOST_LOGS

    def entry(self, planned: PlannedEntry, entry: EntryState) -> EntryReport:
        """Return one entry; what it yielded is read once it is over."""
        result, note = self._result(planned, entry)
        standing = _standing(planned, entry, result)
        metrics = _scalars(result.metrics)
        return EntryReport(
            name=planned.name,
            id=planned.id,
            group=planned.group or planned.name,
            state=entry_state(entry),
            standing=standing,
            folder=f"entries/{planned.name}",
            error_mode=result.error_mode,
            reason=str(result.reason) if entry.over else entry.gate_reason,
            advice=entry.last.advice if entry.last else "",
            expected_failure=planned.expected_failure,
            attempts=tuple(_attempt(attempt) for attempt in entry.attempts),
            exec_time_s=finite_number(result.exec_time_s),
            parameters=planned.parameters,
            metrics=dict([*metrics.items()][:_MOST_METRICS]),
            more_metrics=max(len(result.metrics) - min(len(metrics), _MOST_METRICS), 0),
            resources=_scalars(result.resources),
            bounds=tuple(_bound(requirement, result) for requirement in planned.requirements),
            logs=self._logs(planned, entry) if standing in (Standing.FAILED, Standing.EXPECTED) else (),
            note="; ".join(filter(None, (expectation_note(planned.expected_failure, result.error_mode), note))),
        )

    def _result(self, planned: PlannedEntry, entry: EntryState) -> tuple[EntryResult, str]:
        """Return an entry's result and a note about what is missing in it."""
        number = entry.last.number if entry.last else 0
        if not entry.over:
            nothing = EntryResult(name=planned.name, id=planned.id, attempt=number, success=False, error_mode="")
            return nothing, ""
        path = self._layout.entry(planned.name).attempt(number).results
        try:
            self._bytes_left -= path.stat().st_size
        except OSError:
            pass
        if self._bytes_left >= 0:
            return final_result(planned, entry, self._layout), ""
        mode = entry.last.mode if entry.last else entry.given_up
        mode = mode or ErrorMode.CANCELLED
        verdict = EntryResult(
            name=planned.name,
            id=planned.id,
            attempt=number,
            success=mode is ErrorMode.SUCCESS,
            error_mode=mode.value,
            reason=entry.last.reason if entry.last else entry.decision,
        )
        return (
            verdict,
            f"its metrics were not read: the results of this session have more than {_RESULTS_BYTES >> 20} MiB",
        )

    def _logs(self, planned: PlannedEntry, entry: EntryState) -> tuple[LogTail, ...]:
        """Return the last lines of the last attempt's logs; the scheduler's where the command wrote nothing."""
        if entry.last is None or self._logs_left == 0:
            return ()
        self._logs_left -= 1
        files = self._layout.entry(planned.name).attempt(entry.last.number)
        own = [tail for path in (files.stderr, files.stdout) if (tail := self._tail(path))]
        scheduler = self._layout.scheduler_log(planned.name, entry.last.number, entry.last.job_id)
        return tuple(own or filter(None, [self._tail(scheduler)]))

    def _tail(self, path: Path) -> LogTail | None:
        text = log_end(path, size=_LOG_BYTES)
        kept = "\n".join(text.splitlines()[-_LOG_LINES:])
        if not kept.strip():
            return None
        size = path.stat().st_size if path.exists() else 0
        left_out = max(size - len(kept.encode("utf-8", errors="replace")) - len("\n"), 0)
        return LogTail(
            name=path.name, path=str(path.relative_to(self._layout.root)), text=kept, left_out_bytes=left_out
        )


def _standing(planned: PlannedEntry, entry: EntryState, result: EntryResult) -> Standing:
    if not entry.over:
        return Standing.OPEN
    if entry_state(entry) == "CANCELLED":
        return Standing.CANCELLED
    if is_as_expected(planned.expected_failure, result.error_mode):
        return Standing.PASSED if result.success else Standing.EXPECTED
    return Standing.UNEXPECTED if result.success else Standing.FAILED


def _attempt(attempt: AttemptState) -> AttemptReport:
    over = attempt.mode is not None
    return AttemptReport(
        number=attempt.number,
        outcome=attempt.mode.value if attempt.mode is not None else attempt.state.value.lower(),
        over=over,
        job_id=attempt.job_id,
        nodes=attempt.nodes,
        reason=attempt.reason,
        decision=attempt.decision if attempt.decision != attempt.reason else "",
        submitted_at=_time(attempt.submitted_at or attempt.intended_at),
        started_at=_time(attempt.started_at),
        ended_at=(_time(attempt.ended_at) or _time(attempt.over_at)) if over else None,
    )


def _time(at: float | None) -> float | None:
    """Return a time that can be drawn, None for what is not known."""
    number = finite_number(at)
    return number if number is not None and number > 0 else None


def _scalars(values: Mapping[str, Any]) -> dict[str, object]:
    return {name: value for name, value in values.items() if isinstance(value, str | int | float) and value != ""}


def _bound(requirement: Requirement, result: EntryResult) -> Bound:
    """Hold a requirement against the result; where the attempt yielded nothing to hold it against, nothing is known."""
    figures = result.figures()
    judged = result.ran_well or requirement.metric in result.metrics
    found = judge([requirement], figures) if judged else Judgement(missed=(), told=())
    value = figures.get(requirement.metric)
    return Bound(
        metric=requirement.metric,
        required=required(requirement),
        measured=value if isinstance(value, str | int | float) else None,
        met=not unmet([requirement], figures) if judged and is_judged(requirement) else None,
        message="; ".join((*found.missed, *found.told)),
        limits=limits(requirement),
        unit=unit_of(requirement),
        expected_failure=requirement.expected_failure,
    )
