"""The points of a campaign as typed configurations."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from oellm_bench.builtins import load_all
from oellm_bench.config.drafting import Draft, Part, without_parameters
from oellm_bench.config.expansion import points_of, typed_parameters
from oellm_bench.config.grouping import Point
from oellm_bench.config.schema import Project
from oellm_bench.config.sections import Sections, resolved
from oellm_bench.config.siblings import speaks_of_siblings
from oellm_bench.config.staging import settled
from oellm_bench.config.sweep import keys_of
from oellm_bench.config.variant import Choices, Composition, Variant, choices_of
from oellm_bench.errors import ConfigError, Problem
from oellm_bench.naming import STAGE


@dataclass(frozen=True, kw_only=True)
class ConfiguredPoint:
    """One point of a sweep: its parameters (group choices first) and the whole configuration for it.

    `name`: the entry's, where it does not follow from the parameters; `group`: what its repetitions have in common,
    where it has any. `siblings`: the points of other stages that it refers to, by stage. `telling`: the parameters that
    tell a point of a stage from all others, where those are enough for its name.
    """

    parameters: Mapping[str, Any]
    project: Project
    variant: Variant
    name: str = ""
    group: str = ""
    siblings: Mapping[str, ConfiguredPoint] = field(default_factory=dict)
    telling: frozenset[str] | None = None

    @property
    def name_parameters(self) -> Mapping[str, Any]:
        """Return the parameters that a name is made of where no template says which."""
        if self.telling is None:
            return self.parameters
        return {key: value for key, value in self.parameters.items() if key in self.telling}


def base_project(composition: Composition) -> Project:
    """Return the configuration without its sweep, from the first variant. Raises ConfigError."""
    load_all()
    first = composition.variants[0]
    variant = next(iter(first.chosen.values()), first)
    sections = Sections()
    data = resolved(variant, sections)
    if typed_parameters(variant):
        keys = keys_of(points_of(first, composition.swept, composition.groups))
        data = without_parameters(data, variant, keys)
    return sections.project(data, variant)


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
    problems = _Problems()
    parts = _parts(variant, points, composition, problems)
    drafts = _drafts(points, parts, composition, problems)
    made: dict[int, ConfiguredPoint] = {}
    number = -1
    steps: Iterable[tuple[int, Draft, Mapping[str, int]]]
    if any(part.has_references for part in parts.values()) or any(speaks_of_siblings(p.values) for p in points):
        every = [*drafts]
        problems.raise_any()  # who refers to a point that cannot be made is not to be blamed for it
        steps = ((step.number, step.draft, step.siblings) for step in settled(every))
    else:  # one after the other: ten thousand need not be there at once
        steps = ((number, draft, {}) for number, draft in enumerate(drafts))
    telling = _telling(points)
    try:
        for number, draft, siblings in steps:
            try:
                known = {stage: made[other] for stage, other in siblings.items() if other in made}
                made[number] = _made(draft, known, telling)
            except ConfigError as err:
                problems.add(err)
    except ConfigError as err:  # of the references
        problems.add(err)
    problems.raise_any()
    if number < 0:
        fix = "let it keep one point at least"
        where = variant.provenance.where("sweep.filter")
        raise ConfigError(Problem(what=f"filters take out all {len(points)} points", where=where, fix=fix))
    return [made[number] for number in sorted(made)]


def _parts(variant: Variant, points: list[Point], composition: Composition, problems: _Problems) -> dict[Choices, Part]:
    """Return what the points of each choice of groups share; the problems of those that cannot be used are noted."""
    parts = dict[Choices, Part]()
    for choices, part in (variant.chosen or {(): variant}).items():
        try:
            parts[choices] = Part(part, points, composition.groups)
        except ConfigError as err:
            problems.add(err)
    return parts


def _drafts(
    points: list[Point], parts: Mapping[Choices, Part], composition: Composition, problems: _Problems
) -> Iterator[Draft]:
    """Yield the points that filters leave; the problems of those that cannot be are noted."""
    for point in points:
        part = parts.get(choices_of(point.values, composition.groups))
        if part is None:
            continue
        try:
            draft = part.draft(point)
        except ConfigError as err:
            problems.add(err)
            continue
        if draft is not None:
            yield draft


class _Problems:
    """Problems of many points; what is wrong with a key is told once, whatever values a sweep gives it."""

    def __init__(self) -> None:
        self._found: dict[tuple[str, str], Problem] = {}

    def add(self, err: ConfigError) -> None:
        """Note what is wrong with one more point."""
        for problem in err.problems:
            self._found.setdefault((problem.where, problem.what.partition(" (value ")[0]), problem)

    def raise_any(self) -> None:
        """Raise ConfigError with what was found, if anything was."""
        if self._found:
            raise ConfigError(self._found.values())


def _telling(points: list[Point]) -> dict[int, frozenset[str]]:
    """Return which keys name a point of a stage, by the point's id: the stage, and what was not chosen along with it.

    Points that would be called alike by these are left out.
    """
    names: dict[tuple[object, ...], list[Point]] = {}
    for point in points:
        if STAGE in point.values:
            own = sorted((key, text) for key, text in point.choice.items() if key in point.values)
            names.setdefault((str(point.values[STAGE]), *own), []).append(point)
    alone = (found[0] for found in names.values() if len(found) == 1)
    return {id(point): frozenset((STAGE, *point.choice)) for point in alone}


def _made(
    draft: Draft, siblings: Mapping[str, ConfiguredPoint], telling: Mapping[int, frozenset[str]]
) -> ConfiguredPoint:
    part = draft.part
    variant = replace(part.variant, provenance=part.provenance(draft.point))
    choices = dict(choices_of(draft.values, part.groups))
    return ConfiguredPoint(
        parameters={**part.variant.choices, **draft.values, **choices},
        project=part.sections.project(draft.data, variant),
        variant=variant,
        siblings=siblings,
        telling=telling.get(id(draft.point)),
    )
