"""Which entries wait for which others: names to ids at planning, ids to jobs at submission. Pure."""

from __future__ import annotations

import fnmatch
import graphlib
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from oellm_bench.conditions.base import Condition, Progress
from oellm_bench.config.project import ConfiguredPoint
from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.core.result import ErrorMode
from oellm_bench.errors import ConfigError, Problem, nearest
from oellm_bench.filling import entry_lookup, unfilled
from oellm_bench.monitoring.classify import Verdict
from oellm_bench.placeholders import expand
from oellm_bench.state.model import EntryState, SessionState

Pair = tuple[PlannedEntry, ConfiguredPoint]
# An exit code of 0, which is what SLURM's afterok asks for.
_WELL = (ErrorMode.SUCCESS, ErrorMode.REQUIREMENTS_NOT_MET)
_MOST_HINTS = 20


def with_predecessors(pairs: Sequence[Pair], layout: SessionLayout) -> list[Pair]:
    """Return the entries knowing the ids of those they wait for.

    Raises ConfigError for a name that fits no entry, for circles, and for conditions that cannot be asked.
    """
    ids = {entry.name: entry.id for entry, _ in pairs}
    names_of = _Names([*ids])
    problems: dict[Problem, None] = {}
    found: list[Pair] = []
    edges: dict[str, set[str]] = {}
    for entry, point in pairs:
        names, wrong = _predecessors(entry, point, names_of, layout)
        required, unaskable = _conditions(entry, point, names_of, layout)
        problems.update(dict.fromkeys([*wrong, *unaskable]))
        found.append((replace(entry, after=tuple(ids[name] for name in names)), point))
        edges[entry.name] = {*names, *required}
    problems.update(dict.fromkeys(_circles(edges, pairs)))
    if problems:
        raise ConfigError(problems)
    return found


def _predecessors(
    entry: PlannedEntry, point: ConfiguredPoint, known: _Names, layout: SessionLayout
) -> tuple[list[str], list[Problem]]:
    waits = point.project.sweep.siblings == "afterok"
    names: dict[str, None] = dict.fromkeys(entry.siblings.values() if waits else ())
    problems = []
    after = point.project.slurm.after
    for template in [after] if isinstance(after, str) else after:
        where = point.variant.provenance.where("slurm.after")
        try:
            pattern = expand(template, entry_lookup(entry, point.project.project.name, layout))
        except ValueError as err:
            problems.append(unfilled(err, where))
            continue
        fitting = [name for name in known.fitting(pattern) if name != entry.name]
        if not fitting:
            what = f"no other entry is called '{pattern}'"
            problems.append(Problem(what=what, where=where, fix=known.nearest(pattern)))
        names.update(dict.fromkeys(fitting))
    if names and "?" in entry.dependency:
        what = "a dependency with '?' (any of them) cannot stand beside slurm.after (all of them)"
        problems.append(Problem(what=what, where=point.variant.provenance.where("slurm.sbatch.dependency")))
    return list(names), problems


class _Names:
    """The names of all entries; each question is answered once, for thousands of entries may ask the same."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = dict.fromkeys(names)
        self._fitting: dict[str, list[str]] = {}
        self._nearest: dict[str, str] = {}

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def fitting(self, pattern: str) -> list[str]:
        """Return the name itself where there is one, else those that fit the pattern."""
        if pattern in self._names:
            return [pattern]
        if pattern not in self._fitting:
            self._fitting[pattern] = fnmatch.filter(self._names, pattern)
        return self._fitting[pattern]

    def nearest(self, name: str) -> str:
        """Return what may have been meant; looked for no more than a few times, since that is slow."""
        if name not in self._nearest and len(self._nearest) < _MOST_HINTS:
            self._nearest[name] = nearest(name, [*self._names])
        return self._nearest.get(name, "")


def _conditions(
    entry: PlannedEntry, point: ConfiguredPoint, known: _Names, layout: SessionLayout
) -> tuple[list[str], list[Problem]]:
    """Return the entries without which this one can never start, and what is wrong with its conditions:
    placeholders that have no value, entries that do not exist.
    """
    required: list[str] = []
    problems: list[Problem] = []
    monitoring = point.project.monitoring
    for kind in ("start_conditions", "cancel_conditions"):
        for number, config in enumerate(getattr(monitoring, kind)):
            condition: Condition = config.instantiate(Condition)
            where = point.variant.provenance.where(f"monitoring.{kind}.{number}")
            lookup = entry_lookup(entry, point.project.project.name, layout)
            try:
                for text in condition.templates():
                    expand(text, lookup)
                names = [expand(text, lookup) for text in condition.entries()]
            except ValueError as err:
                problems.append(unfilled(err, where))
                continue
            problems += [
                Problem(what=f"no entry is called '{name}'", where=where, fix=known.nearest(name))
                for name in names
                if name not in known
            ]
            if kind == "start_conditions":
                required += [expand(text, lookup) for text in condition.requires()]
    return required, problems


def _circles(edges: Mapping[str, set[str]], pairs: Sequence[Pair]) -> Iterator[Problem]:
    try:
        graphlib.TopologicalSorter(edges).prepare()
    except graphlib.CycleError as err:
        names = list(reversed(err.args[1]))
        point = next(point for entry, point in pairs if entry.name == names[0])
        what = f"entries wait for each other in a circle: {' -> '.join(names)}"
        yield Problem(what=what, where=point.variant.provenance.where("slurm.after"), fix="break it")


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


def failed_for(entry: PlannedEntry, waited_for: Collection[str], plan: Plan, state: SessionState) -> str:
    """Return which entry ended so that this one cannot run, and how; empty where that is not known.

    `waited_for`: the jobs that its attempt waited for; what one of them ended as may not be known yet.
    """
    failed = failed_predecessor(entry, state)
    if failed is not None:
        other = state.entries[failed]
        mode = other.given_up or (other.last.mode if other.last is not None else None) or ErrorMode.CANCELLED
        return _ended_as(plan.by_id[failed].name, mode)
    asked = [
        (plan.by_id[i].name, attempt.mode)
        for i in entry.after
        if (known := state.entries.get(i)) is not None
        for attempt in known.attempts
        if attempt.job_id in waited_for
    ]
    bad = [(name, mode) for name, mode in asked if mode is not None and mode not in _WELL]
    if bad:
        return _ended_as(*bad[0])
    return f"{asked[0][0]}, which it waits for, did not end as it should" if len(asked) == 1 else ""


def why_ended(found: Verdict, entry: PlannedEntry, waited_for: Collection[str], plan: Plan, state: SessionState) -> str:
    """Return why an attempt ended: what the classifier says, with the other entry's name where it hung on one."""
    if found.mode is not ErrorMode.DEPENDENCY_FAILED:
        return found.reason
    return failed_for(entry, waited_for, plan, state) or found.reason


def _ended_as(name: str, mode: ErrorMode) -> str:
    return f"{name}, which it waits for, ended as {mode.value}"


def hopeless(plan: Plan, state: SessionState) -> set[str]:
    """Return the ids of the entries that were not selected and wait for, or read, what has failed for good.

    Directly or through others.
    """
    ids = {entry.name: entry.id for entry in plan.entries}
    left = [entry for entry in plan.entries if entry.id not in state.entries]
    found: set[str] = set()
    before = -1
    while before < len(found):
        before = len(found)
        for entry in left:
            needed = {*entry.after, *(ids[name] for name in entry.siblings.values())}
            known = (state.entries.get(other) for other in needed)
            if not needed.isdisjoint(found) or any(other and _stands_in_the_way(entry, other) for other in known):
                found.add(entry.id)
    return found


def jobs_to_wait_for(entry: PlannedEntry, state: SessionState) -> tuple[str, ...] | None:
    """Return the unfinished jobs that SLURM has to wait for, None while the entry cannot be submitted yet.

    A job that has ended is none of them: what it ended as is judged first. Entries that were not selected are not
    waited for.
    """
    jobs: list[str] = []
    for other in map(state.entries.get, entry.after):
        if other is None or (other.over and not _stands_in_the_way(entry, other)):
            continue
        last = other.last
        if other.over or last is None or not last.job_id or last.may_be_over or last.is_over:
            return None
        jobs.append(last.job_id)
    return tuple(jobs)


def alive_until(entry: PlannedEntry, state: SessionState, answered_at: float) -> float:
    """Return since when nothing is known of the jobs an entry waits for (epoch seconds), infinity without any.

    They lived when they were submitted, and when the queue answered at `answered_at`. That must not be long ago:
    SLURM forgets a job minutes after its end, and takes a forgotten job for a good one (measured on 22.05).
    """
    waited_for = (other for other in map(state.entries.get, entry.after) if other is not None and not other.over)
    lasts = [other.last for other in waited_for if other.last is not None]
    return min((max(last.submitted_at, answered_at) for last in lasts), default=math.inf)


def was_superseded(entry: PlannedEntry, waited_for: Collection[str], state: SessionState) -> bool | None:
    """Tell whether one of the jobs that an attempt waited for ended badly and was followed by another attempt.

    None while that is not decided.
    """
    for other in filter(None, map(state.entries.get, entry.after)):
        for attempt in other.attempts:
            if attempt.job_id not in waited_for:
                continue
            if attempt is not other.last or other.restart_due:
                return True
            if not other.over and (attempt.may_be_over or attempt.is_over):
                return None
    return False


def _stands_in_the_way(entry: PlannedEntry, other: EntryState) -> bool:
    return other.over and not _ended_well(other, entry.after_type)


def _ended_well(entry: EntryState, kind: str) -> bool:
    mode = entry.last.mode if entry.last is not None and entry.given_up is None else None
    return kind == "afterany" or mode in _WELL
