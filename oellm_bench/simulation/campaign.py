"""A plan made fit for a simulation: as many entries as asked for, and nothing in it that would act on the world."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.naming import identity


def repeated(plan: Plan, jobs: int) -> Plan:
    """Return a plan of that many entries: those of the plan, again and again under further names.

    What an entry waits for is repeated with it. Actions, conditions and further logs are left out: they are real.
    """
    entries = tuple(itertools.islice(_copies(plan), jobs))
    chosen = {entry.id for entry in entries}
    return replace(
        plan,
        entries=tuple(replace(entry, after=tuple(i for i in entry.after if i in chosen)) for entry in entries),
        watch=tuple(_harmless(document) for document in plan.watch),
    )


def _copies(plan: Plan) -> Iterator[PlannedEntry]:
    """Yield the entries without end; the first time as they are, then numbered, the tasks of arrays too."""
    tasks = {
        entry.script: 1 + max(e.task or 0 for e in plan.entries if e.script == entry.script) for entry in plan.entries
    }
    yield from plan.entries
    for copy in itertools.count(2):
        ids = {entry.id: identity({"entry": entry.id, "copy": copy}) for entry in plan.entries}
        for entry in plan.entries:
            in_array = entry.task is not None
            yield replace(
                entry,
                index=entry.index + (copy - 1) * len(plan.entries),
                id=ids[entry.id],
                name=f"{entry.name}-{copy}",
                script=entry.script if in_array else f"scripts/{entry.name}-{copy}.sbatch",
                task=(entry.task or 0) + (copy - 1) * tasks[entry.script] if in_array else None,
                after=tuple(ids[other] for other in entry.after),
            )


def _harmless(document: Mapping[str, Any]) -> dict[str, Any]:
    monitoring = document["monitoring"]
    signals = [{**signal, "action": ""} for signal in monitoring["log_signals"]]
    nothing: dict[str, Any] = {"actions": {}, "start_conditions": (), "cancel_conditions": (), "logs": ()}
    return {**document, "monitoring": {**monitoring, **nothing, "log_signals": signals}}
