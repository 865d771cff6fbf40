"""Which entries wait for which others: names to ids at planning, ids to jobs at submission. Pure."""

from __future__ import annotations

import fnmatch
import graphlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from oellm_bench.conditions.base import Condition, Progress
from oellm_bench.config.project import ConfiguredPoint
from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.plan import PlannedEntry
from oellm_bench.core.result import ErrorMode
from oellm_bench.errors import ConfigError, Problem, nearest
from oellm_bench.filling import entry_lookup
from oellm_bench.placeholders import UnknownPlaceholder, expand
from oellm_bench.state.model import EntryState, SessionState

Pair = tuple[PlannedEntry, ConfiguredPoint]
# An exit code of 0, which is what SLURM's afterok asks for.
_WELL = (ErrorMode.SUCCESS, ErrorMode.REQUIREMENTS_NOT_MET)


def with_predecessors(pairs: Sequence[Pair], layout: SessionLayout) -> list[Pair]:
    """Return the entries knowing the ids of those they wait for.

    Raises ConfigError for a name that fits no entry, for circles, and for conditions that cannot be asked.
    """
    ids = {entry.name: entry.id for entry, _ in pairs}
    problems: dict[Problem, None] = {}
    found: list[Pair] = []
    for entry, point in pairs:
        names, wrong = _predecessors(entry, point, ids, layout)
        problems.update(dict.fromkeys([*wrong, *_condition_problems(entry, point, ids, layout)]))
        found.append((replace(entry, after=tuple(ids[name] for name in names)), point))
    problems.update(dict.fromkeys(_circles(found)))
    if problems:
        raise ConfigError(problems)
    return found


def _predecessors(
    entry: PlannedEntry, point: ConfiguredPoint, ids: Mapping[str, str], layout: SessionLayout
) -> tuple[list[str], list[Problem]]:
    names: dict[str, None] = {}
    problems = []
    after = point.project.slurm.after
    for template in [after] if isinstance(after, str) else after:
        where = point.variant.provenance.where("slurm.after")
        try:
            pattern = expand(template, entry_lookup(entry, point.project.project.name, layout))
        except ValueError as err:
            problems.append(_unfilled(err, where))
            continue
        fitting = _fitting(pattern, entry.name, ids)
        if not fitting:
            fix = nearest(pattern, [name for name in ids if name != entry.name])
            problems.append(Problem(what=f"no other entry is called '{pattern}'", where=where, fix=fix))
        names.update(dict.fromkeys(fitting))
    if names and "?" in entry.dependency:
        what = "a dependency with '?' (any of them) cannot stand beside slurm.after (all of them)"
        problems.append(Problem(what=what, where=point.variant.provenance.where("slurm.sbatch.dependency")))
    return list(names), problems


def _fitting(pattern: str, own: str, ids: Mapping[str, str]) -> list[str]:
    if pattern in ids and pattern != own:
        return [pattern]
    return [name for name in fnmatch.filter(ids, pattern) if name != own]


def _condition_problems(
    entry: PlannedEntry, point: ConfiguredPoint, ids: Mapping[str, str], layout: SessionLayout
) -> Iterator[Problem]:
    """Yield the placeholders of the entry's conditions that have no value, and the entries that do not exist."""
    lookup = entry_lookup(entry, point.project.project.name, layout)
    monitoring = point.project.monitoring
    for kind in ("start_conditions", "cancel_conditions"):
        for number, config in enumerate(getattr(monitoring, kind)):
            condition: Condition = config.instantiate(Condition)
            where = point.variant.provenance.where(f"monitoring.{kind}.{number}")
            try:
                for text in condition.templates():
                    expand(text, lookup)
                names = [expand(text, lookup) for text in condition.entries()]
            except ValueError as err:
                yield _unfilled(err, where)
                continue
            for name in names:
                if name not in ids:
                    yield Problem(what=f"no entry is called '{name}'", where=where, fix=nearest(name, [*ids]))


def _unfilled(err: ValueError, where: str) -> Problem:
    if isinstance(err, UnknownPlaceholder):
        fix = "write {{ and }} for literal braces"
        return Problem(what=f"{{{err.name}}} has no value", where=where, fix=fix)
    return Problem(what=str(err), where=where)


def _circles(pairs: Sequence[Pair]) -> Iterator[Problem]:
    names = {entry.id: entry.name for entry, _ in pairs}
    try:
        graphlib.TopologicalSorter({entry.id: entry.after for entry, _ in pairs}).prepare()
    except graphlib.CycleError as err:
        circle = " -> ".join(names[entry] for entry in reversed(err.args[1]))
        where = pairs[0][1].variant.provenance.where("slurm.after")
        yield Problem(what=f"entries wait for each other in a circle: {circle}", where=where, fix="break it")


def progress(entry: EntryState | None) -> Progress | None:
    """Return how far an entry is, None for one that was not selected."""
    if entry is None:
        return None
    if entry.over:
        passed = entry.last is not None and entry.last.mode is ErrorMode.SUCCESS and entry.given_up is None
        return "succeeded" if passed else "failed"
    return "started" if entry.last is not None and entry.last.started_at is not None else "waiting"


def failed_predecessor(entry: PlannedEntry, state: SessionState) -> str | None:
    """Return the id of an entry that this one waits for and that is over without success, None where there is none."""
    return next((i for i in entry.after if (other := state.entries.get(i)) and _stands_in_the_way(entry, other)), None)


def jobs_to_wait_for(entry: PlannedEntry, state: SessionState) -> tuple[str, ...] | None:
    """Return the unfinished jobs that SLURM has to wait for, None while the entry cannot be submitted yet.

    A job that has ended is none of them: SLURM forgets it in minutes, and takes a forgotten job for a good one
    (measured on 22.05). What it ended as is judged first. Entries that were not selected are not waited for.
    """
    jobs = []
    for other in map(state.entries.get, entry.after):
        if other is None or (other.over and not _stands_in_the_way(entry, other)):
            continue
        last = other.last
        if other.over or last is None or not last.job_id or last.may_be_over or last.is_over:
            return None
        jobs.append(last.job_id)
    return tuple(jobs)


def _stands_in_the_way(entry: PlannedEntry, other: EntryState) -> bool:
    return other.over and not _ended_well(other, entry.after_type)


def _ended_well(entry: EntryState, kind: str) -> bool:
    mode = entry.last.mode if entry.last is not None and entry.given_up is None else None
    return kind == "afterany" or mode in _WELL
