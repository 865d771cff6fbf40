"""What a sink is told of an ended entry: its result, how it came about, and what stands in the plan about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.plan import PlannedEntry
from oellm_bench.core.result import EntryResult, ErrorMode
from oellm_bench.results.reading import finite
from oellm_bench.shell import command_line
from oellm_bench.state.model import AttemptState, EntryState

_OF_SCRIPTS = ("params", "metrics", "stages", "resources", "script_params", "script_metrics", "tasks")


def result_document(
    result: EntryResult, planned: PlannedEntry, entry: EntryState, layout: SessionLayout, sink: str
) -> Mapping[str, Any]:
    """Return the result as plain JSON values for one sink; NaN and infinity are text.

    What a script nested too deeply to be written again is left out.
    """
    folder = layout.entry(planned.name)
    document = {
        **result.to_document(),
        "group": planned.group or planned.name,
        "expected_failure": planned.expected_failure,
        "sink_data": dict(planned.sink_data.get(sink, {})),
        "entry_dir": str(folder.root),
        "attempts": [_attempt(attempt) for attempt in entry.attempts],
        "requirements": [dict(vars(requirement)) for requirement in planned.requirements],
        "timeout": result.error_mode == ErrorMode.TIMEOUT.value,
        "script_params": dict(result.params),
        "script_metrics": dict(result.metrics),
        "tasks": dict(result.stages),
        "command": command_line((*planned.launcher, *planned.argv)),
        "stdouterr_file": str(folder.attempt(result.attempt).stdout) if result.attempt else "",
    }
    try:
        plain: Mapping[str, Any] = finite(document)
    except ValueError:
        plain = finite({**document, **{key: {} for key in _OF_SCRIPTS}})
    return plain


def _attempt(attempt: AttemptState) -> Mapping[str, Any]:
    return {
        "number": attempt.number,
        "job_id": attempt.job_id,
        "nodes": attempt.nodes,
        "error_mode": attempt.mode.value if attempt.mode else "",
        "reason": attempt.reason,
        "started_at": attempt.started_at,
        "ended_at": attempt.ended_at or attempt.over_at or None,
        "decision": attempt.decision,
    }
