"""The points of a campaign as typed configurations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from oellm_bench.builtins import load_all
from oellm_bench.config.drafting import Draft, Part
from oellm_bench.config.expansion import points_of
from oellm_bench.config.grouping import Point
from oellm_bench.config.schema import Project
from oellm_bench.config.sections import Sections, resolved
from oellm_bench.config.siblings import references_in
from oellm_bench.config.staging import settled
from oellm_bench.config.sweep import keys_of
from oellm_bench.config.variant import Choices, Composition, Variant, choices_of, is_choice
from oellm_bench.errors import ConfigError, Problem


@dataclass(frozen=True, kw_only=True)
class ConfiguredPoint:
    """One point of a sweep: its parameters (group choices first) and the whole configuration for it.

    `name`: the entry's, where it does not follow from the parameters; `group`: what its repetitions have in common,
    where it has any. `siblings`: the points of other stages that it refers to, by stage.
    """

    parameters: Mapping[str, Any]
    project: Project
    variant: Variant
    name: str = ""
    group: str = ""
    siblings: Mapping[str, ConfiguredPoint] = field(default_factory=dict)


def base_project(composition: Composition) -> Project:
    """Return the configuration without its sweep, from the first variant. Raises ConfigError."""
    load_all()
    first = composition.variants[0]
    variant = next(iter(first.chosen.values()), first)
    sections = Sections()
    return sections.project(resolved(variant, sections), variant)


def configured_points(composition: Composition) -> list[ConfiguredPoint]:
    """Return every point of the campaign, typed. Raises ConfigError with all problems of all points."""
    load_all()
    points: list[ConfiguredPoint] = []
    problems: dict[Problem, None] = {}
    for variant in composition.variants:
        try:
            points.extend(_variant_points(variant, composition))
        except ConfigError as err:
            problems.update(dict.fromkeys(err.problems))
    if problems:
        raise ConfigError(problems)
    return points


def _variant_points(variant: Variant, composition: Composition) -> list[ConfiguredPoint]:
    points = points_of(variant, composition.swept, composition.groups)
    problems: dict[Problem, None] = {}
    parts = _parts(variant, points, composition, problems)
    drafts = _drafts(points, parts, composition, problems)
    made: dict[int, ConfiguredPoint] = {}
    number = -1
    if any(part.has_references for part in parts.values()) or any(
        next(references_in([*point.values.values()]), None) for point in points
    ):
        steps = ((step.number, step.draft, step.siblings) for step in settled([*drafts]))
    else:  # one after the other: ten thousand need not be there at once
        steps = ((number, draft, {}) for number, draft in enumerate(drafts))
    try:
        for number, draft, siblings in steps:
            try:
                made[number] = _made(draft, {stage: made[other] for stage, other in siblings.items() if other in made})
            except ConfigError as err:
                problems.update(dict.fromkeys(err.problems))
    except ConfigError as err:
        problems.update(dict.fromkeys(err.problems))
    if problems:
        raise ConfigError(problems)
    if number < 0:
        fix = "let it keep one point at least"
        where = variant.provenance.where("sweep.filter")
        raise ConfigError(Problem(what=f"filters take out all {len(points)} points", where=where, fix=fix))
    return [made[number] for number in sorted(made)]


def _parts(
    variant: Variant, points: list[Point], composition: Composition, problems: dict[Problem, None]
) -> dict[Choices, Part]:
    """Return what the points of each choice of groups share; the problems of those that cannot be used are noted."""
    keys, parts = keys_of(points), dict[Choices, Part]()
    for choices, part in (variant.chosen or {(): variant}).items():
        try:
            parts[choices] = Part(part, keys, composition.groups)
        except ConfigError as err:
            problems.update(dict.fromkeys(err.problems))
    return parts


def _drafts(
    points: list[Point], parts: Mapping[Choices, Part], composition: Composition, problems: dict[Problem, None]
) -> Iterator[Draft]:
    """Yield the points that filters leave; the problems of those that cannot be are noted."""
    for point in points:
        part = parts.get(choices_of(point.values, composition.groups))
        if part is None:
            continue
        try:
            draft = part.draft(point)
        except ConfigError as err:
            problems.update(dict.fromkeys(err.problems))
            continue
        if draft is not None:
            yield draft


def _made(draft: Draft, siblings: Mapping[str, ConfiguredPoint]) -> ConfiguredPoint:
    part = draft.part
    choices = {key: value for key, value in draft.values.items() if is_choice(key, value, part.groups)}
    return ConfiguredPoint(
        parameters={**part.variant.choices, **choices, **draft.values},
        project=part.sections.project(draft.data, part.variant),
        variant=part.variant,
        siblings=siblings,
    )
