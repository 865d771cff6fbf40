"""The points of a composed configuration: its sweep as it was written, and what the command line adds."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from oellm_bench.config.addresses import SECTIONS
from oellm_bench.config.grouping import Point
from oellm_bench.config.resolve import sweep_data
from oellm_bench.config.schema import SweepConfig
from oellm_bench.config.sections import located
from oellm_bench.config.sweep import expand, keys_of, repeated
from oellm_bench.config.typing import FaultyConfig, parse
from oellm_bench.config.variant import Variant
from oellm_bench.errors import ConfigError, Problem

_PARTS = ("axes", "params", "configs", "groups")


def points_of(variant: Variant, swept: Mapping[str, Sequence[Any]], groups: Collection[str]) -> list[Point]:
    """Return the points of a variant's sweep, those that filters will take out included.

    `swept`: axes of the command line; a single value there takes the place of what the sweep has for its key, too.
    `groups`: the keys that choose a group. Raises ConfigError with file and line.
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
    given = {*variant.choices, *variant.provenance.overrides}
    parameters = typed_parameters(variant)
    expanded = functools.partial(expand, sweep, sections=SECTIONS, is_choice=groups.__contains__)
    try:
        if parameters:
            declared = keys_of(expanded({}))
            swept = {**swept, **{key: [value] for key, value in parameters.items() if key in declared}}
        return repeated(expanded(swept, given=given), sweep.repeat)
    except ConfigError as err:
        raise ConfigError(
            Problem(what=p.what, where=variant.provenance.where(p.where), fix=p.fix) for p in err.problems
        ) from err


def typed_parameters(variant: Variant) -> dict[str, Any]:
    """Return what the command line gives a value that is no section of the configuration: a parameter, it may be."""
    names = (key for key in variant.provenance.overrides if "." not in key and key not in (*SECTIONS, "sweep"))
    return {key: variant.config[key] for key in names if key in variant.config}
