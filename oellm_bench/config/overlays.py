"""Entries that are written one by one, laid over one composed configuration."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from oellm_bench.builtins import load_all
from oellm_bench.config.placing import set_value, value_at
from oellm_bench.config.project import ConfiguredPoint
from oellm_bench.config.provenance import OverlaidProvenance
from oellm_bench.config.sections import Sections, resolved
from oellm_bench.config.variant import Composition
from oellm_bench.errors import ConfigError, Problem


@dataclass(frozen=True, kw_only=True)
class Overlay:
    """What one entry says beside the composed configuration: values by dotted key, and where each was written."""

    name: str
    group: str
    parameters: Mapping[str, Any]
    values: Mapping[str, Any]
    where: Callable[[str], str]


def overlaid_points(composition: Composition, overlays: Sequence[Overlay]) -> list[ConfiguredPoint]:
    """Return one point for each overlay. What the command line says by a dotted key holds for all of them.

    Raises ConfigError with all problems of all points.
    """
    load_all()
    if len(composition.variants) > 1 or composition.swept:
        fix = "give one value; what differs between entries stands in the entries"
        raise ConfigError(Problem(what="nothing can be swept here", where="-o", fix=fix))
    variant = composition.variants[0]
    sections = Sections()
    base = resolved(variant, sections)
    typed: dict[str, Any] = {}
    for key in variant.provenance.overrides:
        with contextlib.suppress(LookupError):  # it was taken out
            typed |= {key: value_at(base, key)} if "." in key else {}
    points: list[ConfiguredPoint] = []
    problems: dict[Problem, None] = {}
    for overlay in overlays:
        data, copied = dict(base), set[int]()
        for key, value in overlay.values.items():
            set_value(data, key.split("."), value, copied)
        for key, value in typed.items():
            set_value(data, key.split("."), value, copied)
        own = replace(variant, provenance=OverlaidProvenance.over(variant.provenance, overlay.values, overlay.where))
        try:
            project = sections.project(data, own)
        except ConfigError as err:
            problems.update(dict.fromkeys(err.problems))
            continue
        point = ConfiguredPoint(
            parameters=overlay.parameters, project=project, variant=own, name=overlay.name, group=overlay.group
        )
        points.append(point)
    if problems:
        raise ConfigError(problems)
    return points
