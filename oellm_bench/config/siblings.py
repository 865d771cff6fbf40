"""References to an entry of another stage: `${sibling:stable.output_dir}`.

A reference to what an entry has only in its session, its folder or its name, stays a placeholder until the session is
known: `{sibling:stable.output_dir}`. One to a parameter or to the configuration becomes that value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf import OmegaConf

from oellm_bench.config.grouping import Point
from oellm_bench.config.resolve import leaves
from oellm_bench.errors import ConfigError, Problem, nearest
from oellm_bench.naming import STAGE
from oellm_bench.placeholders import SIBLING_FIELDS, value_text

# Private-use characters: they stand for a value until that of the sibling is known.
_BEGIN, _END = "\ue0f0", "\ue0f1"
_VALUE = re.compile(f"{_BEGIN}([^{_END}]*){_END}")
_PLACEHOLDER = re.compile(r"(?<!\{)(?:\{\{)*\{\s*sibling:([^{}]*)\}")


@dataclass(frozen=True)
class Reference:
    """A field of the entry of a stage; `is_value`: it is known before the session is."""

    stage: str
    field: str
    is_value: bool


def _written(*words: Any) -> str:
    """Return what stands for a reference in resolved texts. Raises ValueError for one that names no field."""
    text = ".".join(str(word) for word in words)
    stage, dot, field = text.partition(".")
    if not (stage and dot and field) or len(words) > 1:
        raise ValueError(f"'{text}' is no STAGE.FIELD")
    return f"{{sibling:{text}}}" if field in SIBLING_FIELDS else f"{_BEGIN}{text}{_END}"


OmegaConf.register_new_resolver("sibling", _written, replace=True)


def references_in(value: object) -> Iterator[Reference]:
    """Yield the references in a value, in those of its items too."""
    if isinstance(value, str):
        if _BEGIN in value:
            yield from (_reference(text, is_value=True) for text in _VALUE.findall(value))
        if "sibling:" in value:
            yield from (_reference(text, is_value=False) for text in _PLACEHOLDER.findall(value))
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from references_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from references_in(item)


def _reference(text: str, *, is_value: bool) -> Reference:
    stage, _, field = text.strip().partition(".")
    return Reference(stage=stage, field=field, is_value=is_value)


def substituted(value: Any, known: Mapping[Reference, Any]) -> Any:
    """Return a value with those of siblings in it: a text that is one reference gets its type too."""
    if isinstance(value, str):
        whole = _VALUE.fullmatch(value)
        if whole:
            return known[_reference(whole[1], is_value=True)]
        if _BEGIN not in value:
            return value
        return _VALUE.sub(lambda match: value_text(known[_reference(match[1], is_value=True)]), value)
    if isinstance(value, Mapping):
        return {key: substituted(item, known) for key, item in value.items()}
    if isinstance(value, list):
        return [substituted(item, known) for item in value]
    return value


class Stages:
    """The points of each stage, found by what they share with a point of another one."""

    def __init__(self, points: Sequence[Point]) -> None:
        self._points = points
        self._by_stage: dict[str, dict[frozenset[str], list[int]]] = {}
        self._found: dict[tuple[str, frozenset[str], tuple[str, ...]], dict[tuple[str, ...], list[int]]] = {}
        for number, point in enumerate(points):
            if STAGE in point.values:
                kinds = self._by_stage.setdefault(value_text(point.values[STAGE]), {})
                kinds.setdefault(frozenset(point.choice), []).append(number)

    def sibling(self, number: int, stage: str, where: str) -> int:
        """Return the one point of a stage that has all that both sweep in common with point `number`.

        Raises ConfigError where there is none, or more than one.
        """
        point, found = self._points[number], []
        for keys in self._by_stage.get(stage, {}):
            shared = tuple(sorted(keys & point.choice.keys()))
            index = self._index(stage, keys, shared)
            found += index.get(tuple(point.choice[key] for key in shared), [])
        if len(found) > 1:  # what stands beside a stage decides where nothing else does: points listed one by one
            found = [number for number in found if _agree(point, self._points[number])] or found
        if len(found) == 1:
            return found[0]
        raise ConfigError(self._problem(point, stage, sorted(found), where))

    def _index(self, stage: str, keys: frozenset[str], shared: tuple[str, ...]) -> Mapping[tuple[str, ...], list[int]]:
        name = (stage, keys, shared)
        if name not in self._found:
            index: dict[tuple[str, ...], list[int]] = {}
            for number in self._by_stage[stage][keys]:
                choice = self._points[number].choice
                index.setdefault(tuple(choice[key] for key in shared), []).append(number)
            self._found[name] = index
        return self._found[name]

    def _problem(self, point: Point, stage: str, found: Sequence[int], where: str) -> Problem:
        own = f"{STAGE} '{point.values[STAGE]}'" if STAGE in point.values else "an entry without a stage"
        if not self._by_stage.get(stage):
            fix = nearest(stage, [*self._by_stage]) if self._by_stage else f"give points a {STAGE}: {STAGE}: {stage}"
            if any(known.startswith(f"{stage}.") for known in self._by_stage):
                fix = "a stage that others refer to has no dot in its name"
            return Problem(what=f"{own} refers to stage '{stage}', which no entry has", where=where, fix=fix)
        refers = f"{own} ({_values_of(point)}) refers to stage '{stage}'"
        if not found:
            what = f"{refers}, and no entry of that stage has the same values of what both sweep"
            return Problem(
                what=what, where=where, fix="sweep the same values in both stages, or see what filters leave"
            )
        shown = " and ".join(f"({_values_of(self._points[number])})" for number in found[:2])
        more = f" and {len(found) - 2} more" if len(found) > 2 else ""
        fix = (
            f"sweep what tells them apart in stage '{point.values.get(STAGE, '')}' too; to wait for all of them, name "
            "them in slurm.after"
        )
        return Problem(what=f"{refers}, and {len(found)} entries fit: {shown}{more}", where=where, fix=fix)


def _agree(one: Point, other: Point) -> bool:
    shared = (one.values.keys() & other.values.keys()) - {STAGE}
    return all(one.values[key] == other.values[key] for key in shared)


def speaks_of_siblings(value: object) -> bool:
    """Tell whether a value, resolved or not, may refer to another stage."""
    return any(isinstance(leaf, str) and (_BEGIN in leaf or "sibling:" in leaf) for _, leaf in leaves(value))


def shown_point(point: Point) -> str:
    """Return a point's stage and the values that tell it from others, as short as people need them."""
    stage = [f"{STAGE}={value_text(point.values[STAGE])}"] if STAGE in point.values else []
    return ", ".join(filter(None, (*stage, _values_of(point)))) or "the only point"


def _values_of(point: Point) -> str:
    known = {key: value_text(value) for key, value in point.values.items() if key != STAGE and "${" not in str(value)}
    ends = [key.rsplit(".", 1)[-1] for key in known]
    texts = [
        f"{end if ends.count(end) == 1 else key}={text}" for (key, text), end in zip(known.items(), ends, strict=True)
    ]
    return ", ".join(texts[:4]) + (", ..." if len(texts) > 4 else "")
