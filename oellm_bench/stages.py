"""The stages of a plan as a graph: how many entries are in each, what they cost, which wait for which. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from oellm_bench.core.plan import Plan, PlannedEntry, gpu_hours, node_hours
from oellm_bench.naming import STAGE
from oellm_bench.placeholders import value_text

_REST = "entries without a stage"


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Entries that do the same step. `after`: how many dependencies lead to which other stage, by its name."""

    name: str
    entries: tuple[PlannedEntry, ...]
    after: Mapping[str, int]

    @property
    def node_hours(self) -> float:
        """Return the most node-hours it can cost without restarts."""
        return node_hours(self.entries)

    @property
    def gpu_hours(self) -> float:
        """Return the most GPU-hours it can cost without restarts."""
        return gpu_hours(self.entries)


def stages_of(plan: Plan) -> tuple[Stage, ...]:
    """Return the stages of a plan, each after those it waits for where they do not wait for each other.

    Entries that name no stage are grouped by how many others they wait for, one after the other.
    """
    ids = {entry.name: entry.id for entry in plan.entries}
    waits_for = {entry.id: _waits_for(entry, ids) for entry in plan.entries}
    names = _names(plan, waits_for)
    members: dict[str, list[PlannedEntry]] = {}
    edges: Counter[tuple[str, str]] = Counter()
    for entry in plan.entries:
        name = names[entry.id]
        members.setdefault(name, []).append(entry)
        edges.update((names[other], name) for other in waits_for[entry.id] if other in names)
    after: dict[str, dict[str, int]] = {name: {} for name in members}
    for (before, name), count in edges.items():
        after[name][before] = count
    return tuple(
        Stage(name=name, entries=tuple(members[name]), after=after[name]) for layer in layers(after) for name in layer
    )


def is_worth_drawing(stages: Sequence[Stage]) -> bool:
    """Tell whether there is more to see than a heap of entries."""
    return len(stages) > 1 or any(stage.after for stage in stages)


def layers(after: Mapping[str, Iterable[str]]) -> Iterator[list[str]]:
    """Yield names, each later than all it waits for; of a circle the first one comes first."""
    missing = {name: {other for other in others if other in after and other != name} for name, others in after.items()}
    followers: dict[str, list[str]] = {}
    for name, others in missing.items():
        for other in others:
            followers.setdefault(other, []).append(name)
    layer = [name for name, others in missing.items() if not others]
    while missing:
        layer = layer or [next(iter(missing))]
        yield layer
        for name in layer:
            del missing[name]
        done, layer = layer, []
        for name in done:
            for follower in filter(missing.__contains__, followers.get(name, ())):
                missing[follower].discard(name)
                if not missing[follower]:
                    layer.append(follower)


def _waits_for(entry: PlannedEntry, ids: Mapping[str, str]) -> dict[str, None]:
    """Return the ids of those an entry waits for or refers to; `ids` by name."""
    referred_to = (ids[name] for name in entry.siblings.values() if name in ids)
    return dict.fromkeys((*entry.after, *referred_to))


def _names(plan: Plan, waits_for: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Return the name of each entry's stage, by the entry's id."""
    names = {entry.id: _own_name(entry) for entry in plan.entries}
    unnamed = [entry_id for entry_id, name in names.items() if not name]
    if unnamed:
        # How far each entry is from those that wait for none, from 1.
        steps = {entry_id: step for step, layer in enumerate(layers(waits_for), 1) for entry_id in layer}
        several = len({steps[entry_id] for entry_id in unnamed}) > 1
        names |= {entry_id: f"step {steps[entry_id]}" if several else _REST for entry_id in unnamed}
    return names


def _own_name(entry: PlannedEntry) -> str:
    stage = entry.parameters.get(STAGE)
    return "" if stage is None else value_text(stage)
