"""Points that take something from points of other stages: in which order, and what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from oellm_bench.config.drafting import Draft
from oellm_bench.config.placing import set_value, value_at
from oellm_bench.config.siblings import Reference, Stages, references_in, substituted
from oellm_bench.errors import ConfigError, Problem, nearest
from oellm_bench.naming import STAGE
from oellm_bench.placeholders import SIBLING_FIELDS

# Where `{placeholders}` are filled in once the session is known.
_FILLED = ("backend.", "monitoring.", "slurm.environment.", "slurm.after")


@dataclass(frozen=True, slots=True)
class Settled:
    """A draft with nothing left open; `siblings` are the numbers of those it refers to, by stage."""

    number: int
    draft: Draft
    siblings: Mapping[str, int]


def settled(drafts: Sequence[Draft]) -> Iterator[Settled]:
    """Yield each draft after those it refers to. Raises ConfigError with all problems, once all others are out.

    Circles are problems, and so are references that fit no entry, or several.
    """
    stages = Stages([draft.point for draft in drafts])
    done: dict[int, Settled | None] = {}  # None: there is a problem, which is told
    problems: dict[str, Problem] = {}  # by their place: what is wrong with one entry is wrong with thousands
    for number in range(len(drafts)):
        yield from _in_order(number, drafts, stages, done, problems)
    if problems:
        raise ConfigError(problems.values())


def _in_order(
    number: int,
    drafts: Sequence[Draft],
    stages: Stages,
    done: dict[int, Settled | None],
    problems: dict[str, Problem],
    trail: tuple[int, ...] = (),
) -> Iterator[Settled]:
    """Yield what draft `number` refers to, then itself, but for what has been yielded before."""
    if number in done:
        return
    draft, trail = drafts[number], (*trail, number)
    try:
        siblings = _siblings(number, draft, stages)
        circle = next((other for other in siblings.values() if other in trail), None)
        if circle is not None:
            raise ConfigError(_circle([drafts[n] for n in (*trail[trail.index(circle) :], circle)]))
        for other in siblings.values():
            yield from _in_order(other, drafts, stages, done, problems, trail)
        found = {stage: done[other] for stage, other in siblings.items()}
        usable = {stage: other.draft for stage, other in found.items() if other is not None}
        if len(usable) < len(found):
            done[number] = None
            return
        step = Settled(number=number, draft=_with_values(draft, usable), siblings=siblings)
    except ConfigError as err:
        done[number] = None
        for problem in err.problems:
            problems.setdefault(problem.where, problem)
        return
    done[number] = step
    yield step


def _siblings(number: int, draft: Draft, stages: Stages) -> dict[str, int]:
    siblings: dict[str, int] = {}
    for key, references in draft.references.items():
        where = draft.part.provenance(draft.point).where(key)
        for reference in references:
            if reference.stage not in siblings:
                siblings[reference.stage] = stages.sibling(number, reference.stage, where)
            if not reference.is_value and reference.field not in SIBLING_FIELDS:
                what = f"an entry has no '{reference.field}' of its own in a session"
                raise ConfigError(Problem(what=what, where=where, fix=nearest(reference.field, [*SIBLING_FIELDS])))
            if not reference.is_value and "." in key and not key.startswith(_FILLED):
                what = (
                    f"'{key}' cannot be told {reference.field} of another entry: it is read before the session begins"
                )
                raise ConfigError(Problem(what=what, where=where, fix=f"use it below {', '.join(_FILLED)}"))
    return siblings


def _with_values(draft: Draft, siblings: Mapping[str, Draft]) -> Draft:
    """Return a draft with the values of its siblings in place of references to them. Raises ConfigError."""
    data, values, copied = dict(draft.data), dict(draft.values), set[int]()
    for key, references in draft.references.items():
        if not any(reference.is_value for reference in references):
            continue
        where = draft.part.provenance(draft.point).where(key)
        known = {r: _value(r, siblings[r.stage], where) for r in references if r.is_value}
        after = substituted(values[key] if key in values else value_at(data, key), known)
        if key in values:
            values[key] = after
        if "." in key:
            set_value(data, key.split("."), after, copied)
    if siblings and (data.get("sweep") or {}).get("siblings") == "condition":
        monitoring = data["monitoring"]
        waits = [
            {"class_name": "EntryStateCondition", "entry": f"{{sibling:{stage}.name}}", "state": "succeeded"}
            for stage in siblings
        ]
        data["monitoring"] = {**monitoring, "start_conditions": [*(monitoring.get("start_conditions") or []), *waits]}
    return replace(draft, data=data, values=values)


def _value(reference: Reference, sibling: Draft, where: str) -> Any:
    """Return a parameter of a sibling by its key or the key's end, or a value of its configuration."""
    values, field = sibling.values, reference.field
    ending = [key for key in values if key == field] or [key for key in values if key.rsplit(".", 1)[-1] == field]
    if len(ending) == 1:
        found = values[ending[0]]
    else:
        try:
            found = value_at(sibling.data, field)
        except LookupError:
            what = f"the entry of stage '{reference.stage}' has no '{field}'"
            fix = nearest(field, [*SIBLING_FIELDS, *values])
            raise ConfigError(Problem(what=what, where=where, fix=fix)) from None
    inner = next(references_in(found), None)
    if inner is not None and not inner.is_value:
        what = f"'{field}' of stage '{reference.stage}' itself speaks of stage '{inner.stage}'"
        raise ConfigError(Problem(what=what, where=where, fix=f"refer to stage '{inner.stage}' right away"))
    return found


def _circle(drafts: Sequence[Draft]) -> Problem:
    first = drafts[0]
    key = next(iter(first.references))
    if len(drafts) == 2:
        what = f"stage '{first.values.get(STAGE)}' refers to itself"
        fix = "put the reference into the sweep, beside the stage that it is meant for"
        return Problem(what=what, where=first.part.provenance(first.point).where(key), fix=fix)
    names = " -> ".join(str(draft.values.get(STAGE)) for draft in drafts)
    what = f"stages refer to each other in a circle: {names}"
    return Problem(what=what, where=first.part.provenance(first.point).where(key), fix="take one of the references out")
