"""From a sweep's declaration to its points: pure, typed, in a stable order."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from oellm_bench.config.resolve import leaves, useless_value
from oellm_bench.config.schema import SweepConfig
from oellm_bench.errors import ConfigError, Problem
from oellm_bench.naming import REPETITION

Point = dict[str, Any]


def expand(sweep: SweepConfig, swept: Mapping[str, Sequence[Any]], groups: Collection[str]) -> list[Point]:
    """Return the points of a sweep: parameter values by key, group axes left out.

    A mapping of axes is their product, the last axis turning fastest; a list of mappings puts the products of
    its items one after the other. `swept` are axes from the command line: they replace axes of the same name
    and multiply whatever the file declares. Values keep their types. Raises ConfigError for a declaration
    that is no sweep, for an axis without values and for a point that comes twice.
    """
    alternatives = _alternatives(sweep.axes)
    points: list[Point] = []
    for axes in alternatives:
        own = {key: values for key, values in axes.items() if key not in groups and key not in swept}
        merged = {**own, **swept}
        lists = [_values(key, values) for key, values in merged.items()]
        for combination in itertools.product(*lists):
            points.append({**(sweep.base_values or {}), **dict(zip(merged, combination, strict=True))})
    _refuse_repeats(points)
    return points


def repeated(points: Sequence[Point], times: int) -> list[Point]:
    """Return each point `times` times, numbered from 1; once is as it is. Raises ConfigError."""
    if times < 1:
        raise ConfigError(
            Problem(what=f"repeat: {times} leaves nothing to run", where="sweep.repeat", fix="give 1 or more")
        )
    if times == 1:
        return list(points)
    if any(REPETITION in point for point in points):
        what = f"the sweep has an axis '{REPETITION}' and repeats its points"
        raise ConfigError(Problem(what=what, where="sweep.repeat", fix="give the axis another name"))
    return [{**point, REPETITION: number} for point in points for number in range(1, times + 1)]


def keys_of(points: Sequence[Point]) -> list[str]:
    """Return every key that some point sets, in the order of first appearance."""
    return list(dict.fromkeys(key for point in points for key in point))


def _alternatives(axes: object) -> list[Mapping[str, Any]]:
    if isinstance(axes, Mapping):
        return [_with_text_keys(axes)]
    if isinstance(axes, list) and axes:
        for index, item in enumerate(axes):
            if not isinstance(item, Mapping):
                what = f"item {index} is {item!r}"
                raise ConfigError(Problem(what=what, where="sweep.axes", fix="give mappings: [{lr: 1}, {lr: 2}]"))
        return [_with_text_keys(item) for item in axes]
    fix = "give a mapping of lists, or a list of mappings; leave axes out for one entry"
    raise ConfigError(Problem(what=f"{axes!r} is no sweep", where="sweep.axes", fix=fix))


def _with_text_keys(axes: Mapping[Any, Any]) -> Mapping[str, Any]:
    odd = [key for key in axes if not isinstance(key, str)]
    if odd:
        what = f"YAML reads the axis {odd[0]!r} as no text"
        raise ConfigError(Problem(what=what, where="sweep.axes", fix="put it in quotes"))
    return axes


def _values(key: str, values: object) -> list[Any]:
    if not isinstance(values, list):
        return [values]
    if not values:
        fix = "give at least one value, or take the axis out"
        raise ConfigError(Problem(what=f"axis '{key}' has no values", where=key, fix=fix))
    texts = [repr(value) for value in values]
    repeated = next((text for text in texts if texts.count(text) > 1), None) if len({*texts}) < len(texts) else None
    if repeated is not None:
        what = f"axis '{key}' has the value {repeated} more than once"
        raise ConfigError(Problem(what=what, where=key, fix="take the repeated value out"))
    for _, value in leaves(values):
        if what := useless_value(value):
            raise ConfigError(Problem(what=f"axis '{key}': {what}", where=key, fix="give a value"))
    return values


def _refuse_repeats(points: Sequence[Point]) -> None:
    seen: dict[str, int] = {}
    for index, point in enumerate(points):
        identity = repr(sorted(point.items()))
        if identity in seen:
            what = f"points {seen[identity]} and {index} are the same: {point}"
            raise ConfigError(Problem(what=what, where="sweep.axes", fix="take the repeated value out"))
        seen[identity] = index
