"""The points of a composed configuration: its sweep as it was written, and what the command line adds."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from oellm_bench.config.grouping import Point
from oellm_bench.config.resolve import sweep_data
from oellm_bench.config.schema import Project, SweepConfig
from oellm_bench.config.sections import located
from oellm_bench.config.sweep import expand, repeated
from oellm_bench.config.typing import FaultyConfig, field_types, parse
from oellm_bench.config.variant import Variant
from oellm_bench.errors import ConfigError, Problem

SECTIONS = tuple(name for name in field_types(Project) if name != "sweep")
_PARTS = ("axes", "params", "configs", "groups")


def points_of(variant: Variant, swept: Mapping[str, Sequence[Any]], groups: Collection[str]) -> list[Point]:
    """Return the points of a variant's sweep, those that filters will take out included.

    `swept`: axes of the command line. `groups`: the keys that choose a group. Raises ConfigError with file and line.
    """
    data = sweep_data(variant.config, variant.provenance) or {}
    try:
        sweep = parse(SweepConfig, data, "sweep")
    except FaultyConfig as err:
        raise located(err.faults, variant) from err
    empty = next((part for part in _PARTS if data.get(part) == {} and not (sweep.base_values or swept)), None)
    empty = empty or next((part for part in ("configs", "groups") if data.get(part) == []), None)
    if empty:
        what = "the sweep has no axes" if empty == "axes" else f"{empty} is empty"
        where = variant.provenance.where(f"sweep.{empty}")
        raise ConfigError(Problem(what=what, where=where, fix=f"take {empty} out for a single entry"))
    try:
        points = expand(sweep, swept, given=variant.choices, sections=SECTIONS, is_choice=lambda key: key in groups)
        return repeated(points, sweep.repeat)
    except ConfigError as err:
        raise ConfigError(
            Problem(what=p.what, where=variant.provenance.where(p.where), fix=p.fix) for p in err.problems
        ) from err
