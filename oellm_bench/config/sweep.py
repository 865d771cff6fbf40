"""From a sweep's declaration to its points: pure, typed, in a stable order."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from oellm_bench.config.grouping import Point, Rules, axis_values, merged, multiplied_out, unsaid
from oellm_bench.config.schema import SweepConfig
from oellm_bench.errors import ConfigError, Problem, nearest
from oellm_bench.naming import REPETITION, STAGE


def expand(
    sweep: SweepConfig,
    swept: Mapping[str, Sequence[Any]],
    *,
    given: Collection[str] = (),
    sections: Collection[str] = (),
    is_choice: Callable[[str], bool] = lambda key: False,
) -> list[Point]:
    """Return the points of a sweep, in the order of its declaration; interpolations in their values are left alone.

    `swept` are axes from the command line: they replace axes of the same name and multiply whatever the file
    declares; what it declares for the keys in `given` is left out. `is_choice` tells keys that choose a group of the
    configuration, which turn slowest among axes. Values keep their types. Raises ConfigError for a declaration that
    is no sweep, for an axis without values and for a point that comes twice.
    """
    rules = Rules(
        replaced={*swept, *given},
        added=frozenset(sweep.list_composition),
        sections=sections,
        first=[key for key in (sweep.axes if isinstance(sweep.axes, Mapping) else ()) if is_choice(str(key))],
    )
    root = {
        "type": sweep.type,
        "axes": sweep.axes,
        "params": sweep.params or None,
        "configs": sweep.configs or None,
        "groups": sweep.groups or None,
        "defaults": sweep.defaults,
        "filter": sweep.filter,
    }
    points = multiplied_out(root, "sweep", rules)
    if swept:
        lists = [axis_values(key, values, key) for key, values in swept.items()]
        more = [dict(zip(swept, combination, strict=True)) for combination in itertools.product(*lists)]
        points = [
            Point(
                {**point.values, **values}, {**point.choice, **{k: repr(v) for k, v in values.items()}}, point.filters
            )
            for point in points
            for values in more
        ]
    base = unsaid(sweep.base_values, rules)
    if base:
        points = [Point(merged(base, p.values, rules.added), p.choice, p.filters) for p in points]
    if rules.replaced:  # what told points apart may be among it
        points = _first_of_each(points)
    else:
        _refuse_repeats(points, "sweep.axes" if sweep.axes else "sweep")
    _refuse_odd(points, rules)
    return points


def _refuse_odd(points: Sequence[Point], rules: Rules) -> None:
    """Raise ConfigError for lists to be added up that nobody gives, and for stages that are no names."""
    keys = keys_of(points)
    for key in rules.added:
        if key not in keys:
            fix = nearest(key, keys)
            raise ConfigError(Problem(what=f"no part sets '{key}'", where="sweep.list_composition", fix=fix))
    odd = next((point for point in points if not _may_be_stage(point.values.get(STAGE, "a"))), None)
    if odd is not None:
        what = f"{odd.values[STAGE]!r} is no name of a stage"
        raise ConfigError(Problem(what=what, where=STAGE, fix="give a text"))


def _may_be_stage(value: object) -> bool:
    """Tell whether a value can name a stage; without stages any scalar may be called so."""
    return isinstance(value, str | int | float) and value != ""


def repeated(points: Sequence[Point], times: int) -> list[Point]:
    """Return each point `times` times, numbered from 1; once is as it is. Raises ConfigError."""
    if times < 1:
        raise ConfigError(
            Problem(what=f"repeat: {times} leaves nothing to run", where="sweep.repeat", fix="give 1 or more")
        )
    if times == 1:
        return list(points)
    if any(REPETITION in point.values for point in points):
        what = f"the sweep has an axis '{REPETITION}' and repeats its points"
        raise ConfigError(Problem(what=what, where="sweep.repeat", fix="give the axis another name"))
    return [
        replace(
            point,
            values={**point.values, REPETITION: number},
            choice={**point.choice, REPETITION: str(number)},
        )
        for point in points
        for number in range(1, times + 1)
    ]


def keys_of(points: Sequence[Point]) -> list[str]:
    """Return every key that some point sets, in the order of first appearance."""
    return list(dict.fromkeys(key for point in points for key in point.values))


def _identity(point: Point) -> str:
    return repr(sorted(point.values.items()))


def _first_of_each(points: Sequence[Point]) -> list[Point]:
    first: dict[str, Point] = {}
    for point in points:
        first.setdefault(_identity(point), point)
    return [*first.values()]


def _refuse_repeats(points: Sequence[Point], where: str) -> None:
    seen: dict[str, int] = {}
    for index, point in enumerate(points):
        identity = _identity(point)
        if identity in seen:
            what = f"points {seen[identity]} and {index} are the same: {point.values}"
            raise ConfigError(Problem(what=what, where=where, fix="take the repeated value out"))
        seen[identity] = index
