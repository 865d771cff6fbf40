"""Groups of a sweep, multiplied out: pure, in a stable order."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oellm_bench.config.filters import Filter, read_filter
from oellm_bench.config.resolve import leaves, useless_value
from oellm_bench.errors import ConfigError, Problem, nearest
from oellm_bench.naming import STAGE

_KEYS = ("type", "axes", "params", "configs", "groups", "defaults", "filter")
_MOST_POINTS = 100_000  # more than any cluster takes in its queue
_OF_A_GROUP = frozenset(("params", "configs", "groups"))


@dataclass(frozen=True, slots=True)
class Point:
    """The values of one point, by key.

    `choice`: what tells it from the others of its stage: values by key and alternatives by the place they stand at,
    without those that were chosen along with the stage. `filters` are to be asked once all values are known.
    """

    values: dict[str, Any]
    choice: dict[str, str]
    filters: tuple[Filter, ...] = ()


@dataclass(frozen=True)
class Rules:
    """What holds for all groups of a sweep.

    `replaced`: keys that something else gives values to. `added`: keys whose lists are put one behind the other.
    `sections`: those of the configuration, whose values may be nested. `first`: keys that turn slowest, whatever
    place they have.
    """

    replaced: Collection[str] = ()
    added: Collection[str] = ()
    sections: Collection[str] = ()
    first: Collection[str] = ()


def multiplied_out(group: Mapping[str, Any], where: str, rules: Rules) -> list[Point]:
    """Return the points of a group of values, groups in it included.

    `where` is its key. Raises ConfigError for what is no group, for an axis without values, and for a key that two
    parts of a product set.
    """
    parts = [*_parts(group, where, rules)]
    kind = group.get("type") or "product"
    if kind not in ("product", "list"):
        fix = nearest(str(kind), ("product", "list"))
        raise ConfigError(Problem(what=f"'{kind}' is no type of a group", where=f"{where}.type", fix=fix))
    points = _product(parts, where, rules) if kind == "product" else _union(parts, where)
    defaults = unsaid(_mapping(group.get("defaults") or {}, f"{where}.defaults"), rules)
    if defaults:
        points = [Point(merged(defaults, p.values, rules.added), p.choice, p.filters) for p in points]
    condition = _filter(group.get("filter"), f"{where}.filter")
    return points if condition is None else [Point(p.values, p.choice, (*p.filters, condition)) for p in points]


def merged(one: Mapping[str, Any], other: Mapping[str, Any], added: Collection[str]) -> dict[str, Any]:
    """Return both, what `other` says above `one`; lists of the keys in `added` are put one behind the other."""
    both = {**one, **other}
    for key in added:
        if key in one and key in other:
            for value in (one[key], other[key]):
                if not isinstance(value, list):
                    fix = "give lists, or take the key out"
                    raise ConfigError(
                        Problem(what=f"'{key}' is {value!r}, no list", where="sweep.list_composition", fix=fix)
                    )
            both[key] = [*one[key], *other[key]]
    return both


def _parts(group: Mapping[str, Any], where: str, rules: Rules) -> Iterator[list[Point]]:
    """Yield the points of each part: the axes, the grid, the list of sets, each group in it."""
    for key in group:
        if key not in _KEYS:
            fix = nearest(str(key), _KEYS)
            raise ConfigError(Problem(what=f"unknown key '{key}' in a group", where=f"{where}.{key}", fix=fix))
    if group.get("axes") not in (None, {}):
        yield _axes(group["axes"], f"{where}.axes", rules)
    if group.get("params") is not None:
        params = _flat(_mapping(group["params"], f"{where}.params"), rules)
        _refuse_empty(params, f"{where}.params")
        yield _grid(params, rules, f"{where}.params")
    if group.get("configs") is not None:
        yield _configs(_list(group["configs"], f"{where}.configs"), f"{where}.configs", rules)
    if group.get("groups") is not None:
        for number, item in enumerate(_list(group["groups"], f"{where}.groups")):
            place = f"{where}.groups.{number}"
            yield multiplied_out(_mapping(item, place), place, rules)


def _axes(axes: object, where: str, rules: Rules) -> list[Point]:
    """Return the points of the older form: a mapping is the product of its axes, a list has several of them."""
    if isinstance(axes, Mapping):
        return _grid(_with_text_keys(axes, where), rules, where)
    if not isinstance(axes, list) or not axes:
        fix = "give a mapping of lists, or a list of mappings; leave axes out for one entry"
        raise ConfigError(Problem(what=f"{axes!r} is no sweep", where=where, fix=fix))
    for number, item in enumerate(axes):
        if not isinstance(item, Mapping):
            what = f"item {number} is {item!r}"
            raise ConfigError(Problem(what=what, where=where, fix="give mappings: [{lr: 1}, {lr: 2}]"))
    alternatives = enumerate(axes)
    return _union([_grid(_with_text_keys(item, where), rules, f"{where}.{n}") for n, item in alternatives], where)


def _configs(items: Sequence[object], where: str, rules: Rules) -> list[Point]:
    alternatives = []
    for number, item in enumerate(items):
        place = f"{where}.{number}"
        values = _mapping(item, place)
        odd = next((key for key in ("filter", "defaults") if key in values and not _is_group(values)), None)
        if odd:
            fix = f"make it a group: {{configs: [{{...}}], {odd}: ...}}, or put it beside configs"
            raise ConfigError(Problem(what=f"a set of values has no {odd}", where=f"{place}.{odd}", fix=fix))
        if _OF_A_GROUP.intersection(values):
            alternatives.append(multiplied_out(values, place, rules))
            continue
        flat = unsaid(values, rules)
        for key, value in flat.items():
            _refuse_useless(key, value, f"{place}.{key}")
        # What stands beside a stage belongs to the stage.
        choice = {} if STAGE in flat else {key: repr(value) for key, value in flat.items()}
        alternatives.append([Point(flat, choice)])
    return _union(alternatives, where)


def _is_group(item: object) -> bool:
    return isinstance(item, Mapping) and bool(_OF_A_GROUP.intersection(item))


def _grid(axes: Mapping[str, Any], rules: Rules, where: str) -> list[Point]:
    """Return every combination of the values, the last axis turning fastest."""
    keys = sorted((key for key in axes if key not in rules.replaced), key=lambda key: key not in rules.first)
    lists = [[(value, repr(value)) for value in axis_values(key, axes[key], f"{where}.{key}")] for key in keys]
    _refuse_flood(math.prod(map(len, lists)), where)
    points = []
    for combination in itertools.product(*lists):
        values = dict(zip(keys, (value for value, _ in combination), strict=True))
        choice = {key: text for key, (_, text) in zip(keys, combination, strict=True) if key != STAGE}
        points.append(Point(values, choice))
    return points


def _union(alternatives: Sequence[list[Point]], where: str) -> list[Point]:
    """Return the points of one alternative after the other, each marked with its own unless it decides the stage."""
    if len(alternatives) == 1 or _differ_in_stage(alternatives):
        return [point for points in alternatives for point in points]
    return [
        Point(point.values, {**point.choice, where: str(number)}, point.filters)
        for number, points in enumerate(alternatives)
        for point in points
    ]


def _differ_in_stage(alternatives: Sequence[list[Point]]) -> bool:
    return len({frozenset(str(point.values.get(STAGE)) for point in points) for points in alternatives}) > 1


def _product(parts: Sequence[list[Point]], where: str, rules: Rules) -> list[Point]:
    if len(parts) == 1:
        return parts[0]
    _refuse_flood(math.prod(map(len, parts)), where)
    product, known = [Point({}, {})], set[str]()
    for part in parts:
        keys = {key for point in part for key in _exact(point.values)}
        twice = sorted((known & keys) - {*rules.added})
        if twice:
            what = f"two parts of a product both set '{twice[0]}'"
            fix = "keep one of them; what holds unless it is said otherwise goes into defaults"
            raise ConfigError(Problem(what=what, where=where, fix=fix))
        known |= keys
        product = [
            Point(merged(a.values, b.values, rules.added), {**a.choice, **b.choice}, (*a.filters, *b.filters))
            for a in product
            for b in part
        ]
    return product


def _refuse_flood(points: int, where: str) -> None:
    if points > _MOST_POINTS:
        fix = f"take values out; {_MOST_POINTS:,} are the most"
        raise ConfigError(Problem(what=f"the sweep has {points:,} points", where=where, fix=fix))


def _exact(values: Mapping[str, Any]) -> Iterator[str]:
    """Yield the keys that are set, those within mappings of the configuration too."""
    for key, value in values.items():
        if "." in key and isinstance(value, Mapping) and value:
            yield from (f"{key}.{name}" for name, _ in _inner(value))
        else:
            yield key


def axis_values(key: str, values: object, where: str) -> list[Any]:
    """Return the values of an axis; anything but a list is one. Raises ConfigError for none, and for repeated ones."""
    if not isinstance(values, list):
        _refuse_useless(key, values, where)
        return [values]
    if not values:
        fix = "give at least one value, or take the axis out"
        raise ConfigError(Problem(what=f"axis '{key}' has no values", where=key, fix=fix))
    texts = [repr(value) for value in values]
    repeated = next((text for text in texts if texts.count(text) > 1), None) if len({*texts}) < len(texts) else None
    if repeated is not None:
        what = f"axis '{key}' has the value {repeated} more than once"
        raise ConfigError(Problem(what=what, where=key, fix="take the repeated value out"))
    _refuse_useless(key, values, where)
    return values


def _refuse_useless(key: str, value: object, where: str) -> None:
    for name, leaf in leaves(value):
        if what := useless_value(leaf):
            place = f"{where}.{name}" if name else where
            raise ConfigError(Problem(what=f"axis '{key}': {what}", where=place, fix="give a value"))


def _flat(values: Mapping[Any, Any], rules: Rules) -> dict[str, Any]:
    """Return values with dotted keys in place of mappings below the name of a section, but whole plug-ins.

    A mapping that names its class is all of it: values meant for another class must not linger beside it.
    """
    found: dict[str, Any] = {}
    for key, value in values.items():
        if key in rules.sections and isinstance(value, Mapping) and value and "class_name" not in value:
            found.update({f"{key}.{name}": leaf for name, leaf in _inner(value)})
        else:
            found[key] = value
    return found


def unsaid(values: Mapping[str, Any], rules: Rules) -> dict[str, Any]:
    """Return values by dotted key, without those that something else gives."""
    return {key: value for key, value in _flat(values, rules).items() if key not in rules.replaced}


def _inner(node: Mapping[Any, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in node.items():
        if isinstance(value, Mapping) and value and "class_name" not in value:
            yield from ((f"{name}.{inner}", leaf) for inner, leaf in _inner(value))
        else:
            yield str(name), value


def _filter(text: object, where: str) -> Filter | None:
    if text is None or text == "" or text is True:
        return None
    if text is False:
        raise ConfigError(Problem(what="the filter is false: it leaves nothing", where=where, fix="take it out"))
    if not isinstance(text, str):
        raise ConfigError(Problem(what=f"{text!r} is no filter", where=where, fix="write an expression: 'lr < 0.1'"))
    return read_filter(text, where)


def _mapping(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(Problem(what=f"{value!r} is no mapping", where=where, fix="give KEY: VALUE"))
    return _with_text_keys(value, where)


def _with_text_keys(values: Mapping[Any, Any], where: str) -> Mapping[str, Any]:
    odd = [key for key in values if not isinstance(key, str)]
    if odd:
        what = f"YAML reads the axis {odd[0]!r} as no text"
        raise ConfigError(Problem(what=what, where=where, fix="put it in quotes"))
    return values


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ConfigError(Problem(what=f"{value!r} is no list", where=where, fix="give a list of mappings"))
    _refuse_empty(value, where)
    return value


def _refuse_empty(values: Collection[Any], where: str) -> None:
    if not values:
        raise ConfigError(Problem(what="it is empty", where=where, fix="give at least one, or take it out"))
