"""Which entries of a plan are submitted: all of them, or those that `--subset` names."""

from __future__ import annotations

import re
from collections.abc import Collection

from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.errors import UsageError


def selected(plan: Plan, subset: Collection[int] | None, *, before: Collection[str]) -> list[str]:
    """Return the ids of the entries that are meant; `before`: those that were submitted already.

    Raises UsageError for an index that no entry has, and for an entry that reads what another one makes where that
    one is left out: it would begin without a word from nothing.
    """
    if subset is None:
        return [entry.id for entry in plan.entries]
    by_index = {entry.index: entry for entry in plan.entries}
    unknown = sorted(set(subset) - set(by_index))
    if unknown:
        listed = ", ".join(str(index) for index in unknown)
        raise UsageError(f"--subset: no entry with index {listed}; the plan has {min(by_index)} to {max(by_index)}")
    entries = [by_index[index] for index in sorted(subset)]
    there = {entry.id for entry in entries}.union(before)
    by_name = {entry.name: entry for entry in plan.entries}
    for entry in entries:
        for name in entry.siblings.values():
            if by_name[name].id not in there and _reads(entry, name):
                fix = f"add {by_name[name].index}, or submit that one first"
                raise UsageError(f"--subset: entry {entry.index} ({entry.name}) reads what {name} makes; {fix}")
    return [entry.id for entry in entries]


def _reads(entry: PlannedEntry, name: str) -> bool:
    """Tell whether an entry's command is told of another one's folder, whatever quotes the path before it needs.

    To run in it, or to go on from what lies in it, is to read it too.
    """
    folder = re.compile(rf"/{re.escape(name)}(?![A-Za-z0-9._=+@,-])")
    resume = (entry.resume.pattern, *entry.resume.arguments) if entry.resume is not None else ()
    texts = (*entry.argv, *entry.environment.values(), *entry.files.values(), entry.cwd, *resume)
    return any(folder.search(text) for text in texts)
