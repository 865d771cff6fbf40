"""A point's values put into the configuration of its variant, as plain data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from oellm_bench.config.addresses import PointProvenance, address_problems, is_address
from oellm_bench.config.dependents import SweptValues
from oellm_bench.config.expansion import typed_parameters
from oellm_bench.config.grouping import Point
from oellm_bench.config.placing import keys_called, set_value, value_at, within
from oellm_bench.config.resolve import leaves
from oellm_bench.config.sections import Sections, resolved
from oellm_bench.config.siblings import Reference, references_in, shown_point
from oellm_bench.config.sweep import keys_of
from oellm_bench.config.variant import Variant, is_choice
from oellm_bench.errors import ConfigError, Problem, nearest


@dataclass(frozen=True, slots=True)
class Draft:
    """A point before what it takes from others is known.

    `values` are the point's own, `data` the whole configuration for it, `references` those to other stages by the key
    they stand at.
    """

    point: Point
    part: Part
    values: dict[str, Any]
    data: dict[str, Any]
    references: Mapping[str, tuple[Reference, ...]]


class Part:
    """What all points of one variant share. Raises ConfigError where the variant itself cannot be used."""

    def __init__(self, variant: Variant, points: Sequence[Point], groups: Collection[str]) -> None:
        keys = keys_of(points)
        self.variant = variant
        self.sections = Sections()
        self.base = without_parameters(resolved(variant, self.sections), variant, keys)
        self.groups = groups
        problems = [*address_problems(points, [key for key in keys if key not in groups], variant.provenance)]
        if problems:
            raise ConfigError(problems)
        self._swept = SweptValues(variant.config, variant.provenance, keys)
        self._references = {
            key: found
            for key, value in leaves({name: part for name, part in self.base.items() if name != "sweep"})
            if (found := tuple(references_in(value)))
        }

    @property
    def has_references(self) -> bool:
        """Whether the configuration itself speaks of other stages."""
        return bool(self._references)

    def draft(self, point: Point) -> Draft | None:
        """Return the point's configuration, None for a point that a filter takes out. Raises ConfigError."""
        choices = {key: value for key, value in point.values.items() if is_choice(key, value, self.groups)}
        own = {key: value for key, value in point.values.items() if key not in choices}
        values, followers = self._swept.of(own)
        data, copied = dict(self.base), set[int]()
        addressed = {**followers, **{key: value for key, value in values.items() if is_address(key, value)}}
        for key, value in sorted(addressed.items(), key=lambda pair: pair[0].count(".")):  # the more exact key wins
            try:
                set_value(data, key.split("."), value, copied)
            except (IndexError, ValueError) as err:
                what = f"'{key}' addresses an item of a list that is not there"
                raise ConfigError(Problem(what=what, where=self.provenance(point).where(key))) from err
        if not self._stays(point, {**choices, **values}, data):
            return None
        references = {key: found for key, found in self._references.items() if not within(key, addressed)}
        for key, value in {**values, **followers}.items():
            if found := tuple(references_in(value)):
                references[key] = found
        return Draft(point=point, part=self, values={**choices, **values}, data=data, references=references)

    def _stays(self, point: Point, values: Mapping[str, Any], data: Mapping[str, Any]) -> bool:
        try:
            return all(condition.holds(lambda name: self._find(name, values, data)) for condition in point.filters)
        except ConfigError as err:
            place, shown = self.variant.provenance.where, shown_point(point)
            raise ConfigError(
                replace(problem, what=f"{problem.what} ({shown})", where=place(problem.where))
                for problem in err.problems
            ) from err

    def _find(self, name: str, values: Mapping[str, Any], data: Mapping[str, Any]) -> Any:
        """Return what a filter calls `name`: a point's value by its key or the key's end, else the configuration's.

        Raises KeyError with the name and a hint.
        """
        plain = {**{key.replace("-", "_"): value for key, value in values.items()}, **values}
        called = keys_called(name, plain)
        try:
            found = plain[called[0]] if len(called) == 1 else self.value_at(data, name)
        except LookupError:
            fix = f"write more of its key: {' or '.join(called)}" if called else nearest(name, [*plain])
            raise KeyError(name, fix) from None
        if any(reference.is_value for reference in references_in(found)):
            raise KeyError(name, "a filter cannot see what comes from another stage: filter that stage")
        return found

    def value_at(self, data: Mapping[str, Any], key: str) -> Any:
        """Return a value of a point's configuration, or its default. Raises LookupError where there is neither."""
        try:
            return value_at(data, key)
        except LookupError:
            typed: Any = self.sections.project(data, self.variant)
        for part in key.split("."):
            if not hasattr(typed, part):
                raise LookupError(key)
            typed = getattr(typed, part)
        return typed

    def provenance(self, point: Point) -> PointProvenance:
        """Return where a point has its values from."""
        known = self.variant.provenance
        return PointProvenance(known.sources, known.overrides, point.values, self.base.get("sweep") or {})


def without_parameters(data: dict[str, Any], variant: Variant, keys: Collection[str]) -> dict[str, Any]:
    """Return a configuration without the parameters that the command line gave it a value for."""
    parameters = typed_parameters(variant).keys() & {*keys}
    return {key: value for key, value in data.items() if key not in parameters}
