"""Which entries of a plan are submitted: all of them, or those that `--subset` names."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from oellm_bench.core.events import Retried, Selected
from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.errors import UsageError
from oellm_bench.ordering import failed_predecessor, hopeless
from oellm_bench.state.model import SessionState
from oellm_bench.view import ended_badly, not_selected


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


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a submit asks for: the entries of `subset` (None: all), with `again` also those that have failed."""

    subset: Collection[int] | None = None
    again: bool = False

    def events(self, plan: Plan, state: SessionState, now: float) -> list[Selected | Retried]:
        """Return what of that is still to be done in a session.

        Raises UsageError as `selected` does, with `again` also for one that waits for a failed one that is left out.
        """
        wanted = selected(plan, self.subset, before=state.entries)
        new = [entry for entry in wanted if entry not in state.entries]
        failed = set(ended_badly(plan, state)).intersection(wanted) if self.again else ()
        found: list[Selected | Retried] = [Selected(at=now, entries=tuple(new))] if new else []
        retried = tuple(entry for entry in wanted if entry in failed)
        if self.again:
            _refuse_in_vain([plan.by_id[entry] for entry in (*new, *retried)], set(wanted), plan, state)
        return [*found, *([Retried(at=now, entries=retried)] if retried else [])]

    def goes_on_with(self, plan: Plan, state: SessionState) -> bool:
        """Tell whether a finished session of the same plan is the one to do that in.

        It is where entries are wanted that were never submitted and have something to begin with. Where all of them
        wait for what has failed they could only fail as well.
        """
        if self.again:
            return True
        new = set(not_selected(plan, state)) - hopeless(plan, state)
        return any(entry.id in new for entry in plan.entries if self.subset is None or entry.index in self.subset)


def _refuse_in_vain(entries: Sequence[PlannedEntry], wanted: set[str], plan: Plan, state: SessionState) -> None:
    for entry in entries:
        failed = failed_predecessor(entry, state)
        if failed is not None and failed not in wanted:
            other = plan.by_id[failed]
            what = f"--subset: entry {entry.index} ({entry.name}) waits for {other.name}, which has failed"
            raise UsageError(f"{what}; add {other.index}")


def _reads(entry: PlannedEntry, name: str) -> bool:
    """Tell whether an entry's command is told of another one's folder, whatever quotes the path before it needs.

    To run in it, or to go on from what lies in it, is to read it too.
    """
    folder = re.compile(rf"/{re.escape(name)}(?![A-Za-z0-9._=+@,-])")
    resume = (entry.resume.pattern, *entry.resume.arguments) if entry.resume is not None else ()
    texts = (*entry.argv, *entry.environment.values(), *entry.files.values(), entry.cwd, *resume)
    return any(folder.search(text) for text in texts)
