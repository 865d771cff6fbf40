"""Points that take something from points of other stages: in which order, and what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from oellm_bench.config.addresses import is_address
from oellm_bench.config.drafting import Draft
from oellm_bench.config.placing import keys_called, set_value, value_at
from oellm_bench.config.siblings import Reference, Stages, references_in, substituted
from oellm_bench.errors import ConfigError, Problem, nearest
from oellm_bench.naming import STAGE
from oellm_bench.placeholders import SIBLING, SIBLING_FIELDS, by_key_or_suffix, value_text, with_placeholders

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
            if not reference.is_value:
                _refuse_early(key, draft.values.get(key), reference.field, where)
    return siblings


def _refuse_early(key: str, value: object, field: str, where: str) -> None:
    """Raise ConfigError for a key of the configuration that is read before the session begins."""
    if is_address(key, value) and not f"{key}.".startswith(_FILLED):
        what = f"'{key}' cannot be told {field} of another entry: it is read before the session begins"
        raise ConfigError(Problem(what=what, where=where, fix=f"use it below {', '.join(_FILLED)}"))


def _with_values(draft: Draft, siblings: Mapping[str, Draft]) -> Draft:
    """Return a draft with the values of its siblings in place of references to them. Raises ConfigError."""
    data, values, copied = dict(draft.data), dict(draft.values), set[int]()
    for key, references in draft.references.items():
        if not any(reference.is_value for reference in references):
            continue
        where = draft.part.provenance(draft.point).where(key)
        known = {r: _value(r, siblings[r.stage], where) for r in references if r.is_value}
        if is_address(key, draft.values.get(key)):  # as it is now: a more exact key may have changed it
            after = substituted(value_at(data, key), known)
            set_value(data, key.split("."), after, copied)
            for late in references_in(after):
                _refuse_early(key, after, late.field, where)
        if key in values:
            values[key] = substituted(values[key], known)
    monitoring = data.get("monitoring")
    waits_by_condition = siblings and (data.get("sweep") or {}).get("siblings") == "condition"
    if waits_by_condition and isinstance(monitoring, Mapping):
        waits = [
            {"class_name": "EntryStateCondition", "entry": f"{{sibling:{stage}.name}}", "state": "succeeded"}
            for stage in siblings
        ]
        given = monitoring.get("start_conditions") or []
        if isinstance(given, list):  # anything else is refused where it is typed
            data["monitoring"] = {**monitoring, "start_conditions": [*given, *waits]}
    return replace(draft, data=data, values=values)


def _value(reference: Reference, sibling: Draft, where: str) -> Any:
    """Return a parameter of a sibling by its key or the key's end, or a value of its configuration."""
    values, field = sibling.values, reference.field
    called = keys_called(field, values)
    try:
        found = values[called[0]] if len(called) == 1 else sibling.part.value_at(sibling.data, field)
    except LookupError:
        what = f"the entry of stage '{reference.stage}' has no '{field}'"
        fix = nearest(field, [*SIBLING_FIELDS, *values])
        raise ConfigError(Problem(what=what, where=where, fix=fix)) from None
    inner = next(references_in(found), None)
    if inner is not None and not inner.is_value:
        what = f"'{field}' of stage '{reference.stage}' itself speaks of stage '{inner.stage}'"
        raise ConfigError(Problem(what=what, where=where, fix=f"refer to stage '{inner.stage}' right away"))
    return _told_by(found, reference.stage, values, where)


def _told_by(value: Any, stage: str, values: Mapping[str, Any], where: str) -> Any:
    """Return a value of a sibling with its placeholders standing for what they stand for there."""
    if isinstance(value, Mapping):
        return {key: _told_by(item, stage, values, where) for key, item in value.items()}
    if isinstance(value, list):
        return [_told_by(item, stage, values, where) for item in value]
    if not isinstance(value, str):
        return value
    lookup = by_key_or_suffix({key: value_text(item) for key, item in values.items()}, [*values])

    def change(name: str) -> str:
        if name in SIBLING_FIELDS:
            return f"{{{SIBLING}{stage}.{name}}}"
        if name == "entry_id":
            what = f"the id of the entry of stage '{stage}' stands in what is referred to"
            raise ConfigError(Problem(what=what, where=where, fix="use its name: {entry_name}"))
        known = lookup(name)
        return f"{{{name}}}" if known is None else known.replace("{", "{{").replace("}", "}}")

    return with_placeholders(value, change)


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
