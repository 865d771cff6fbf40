"""The points of a campaign as typed configurations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from omegaconf.errors import OmegaConfBaseException

from oellm_bench.builtins import load_all
from oellm_bench.config.compose import Composition, Variant
from oellm_bench.config.resolve import Dependents, resolve
from oellm_bench.config.schema import Project, SweepConfig
from oellm_bench.config.sweep import Point, expand, keys_of
from oellm_bench.config.typing import Fault, FaultyConfig, field_types, parse
from oellm_bench.errors import ConfigError, Problem, nearest


@dataclass(frozen=True, kw_only=True)
class ConfiguredPoint:
    """One point of a sweep: its parameters (group choices first) and the whole configuration for it."""

    parameters: Mapping[str, Any]
    project: Project
    variant: Variant


def base_project(composition: Composition) -> Project:
    """Return the configuration without its sweep, from the first variant. Raises ConfigError."""
    load_all()
    variant = composition.variants[0]
    return _Sections().project(normalised(resolve(variant.config, variant.provenance)), variant)


def configured_points(composition: Composition) -> list[ConfiguredPoint]:
    """Return every point of the campaign, typed. Raises ConfigError with all problems of all points."""
    load_all()
    points: list[ConfiguredPoint] = []
    problems: list[Problem] = []
    for variant in composition.variants:
        try:
            points.extend(_variant_points(variant, composition.swept))
        except ConfigError as err:
            problems.extend(err.problems)
    if problems:
        raise ConfigError(problems)
    return points


def normalised(data: Mapping[str, Any]) -> dict[str, Any]:
    """Accept `restart_policies` at the root as well as inside `restart`; the root's wins."""
    data = {**data, "requirements": data.get("requirements") or []}
    if "restart_policies" not in data:
        return data
    rest = {key: value for key, value in data.items() if key != "restart_policies"}
    restart = {**(rest.get("restart") or {}), "restart_policies": data["restart_policies"]}
    return {**rest, "restart": restart}


def _variant_points(variant: Variant, swept: Mapping[str, Sequence[Any]]) -> Iterator[ConfiguredPoint]:
    base = normalised(resolve(variant.config, variant.provenance))
    sections = _Sections()
    try:
        sweep = parse(SweepConfig, base.get("sweep") or {}, "sweep")
    except FaultyConfig as err:
        raise _located(err, variant) from err
    points = _located_expand(sweep, swept, variant)
    addressed = [key for key in keys_of(points) if "." in key]
    _check_addresses(addressed, base, variant)
    dependents = Dependents(variant.config, addressed)
    problems: dict[Problem, None] = {}
    for point in points:
        try:
            project = sections.project(_applied(base, point, dependents, variant), variant)
        except ConfigError as err:
            problems.update(dict.fromkeys(err.problems))
            continue
        yield ConfiguredPoint(parameters={**variant.choices, **point}, project=project, variant=variant)
    if problems:
        raise ConfigError(problems)


def _located_expand(sweep: SweepConfig, swept: Mapping[str, Sequence[Any]], variant: Variant) -> list[Point]:
    try:
        return expand(sweep, swept, variant.choices)
    except ConfigError as err:
        raise ConfigError(
            Problem(what=p.what, where=variant.provenance.where(p.where), fix=p.fix) for p in err.problems
        ) from err


def _check_addresses(keys: Sequence[str], base: Mapping[str, Any], variant: Variant) -> None:
    """Refuse dotted keys whose first part is no section: they would change nothing."""
    sections = [name for name in field_types(Project) if name != "sweep"]
    wrong = [key for key in keys if key.split(".")[0] not in sections]
    if wrong:
        raise ConfigError(
            Problem(
                what=f"sweep key '{key}' addresses no section",
                where=variant.provenance.where(key),
                fix=nearest(key.split(".")[0], sections),
            )
            for key in wrong
        )


def _applied(base: Mapping[str, Any], point: Point, dependents: Dependents, variant: Variant) -> dict[str, Any]:
    """Return the base with the point's dotted keys and all that follows from them; shares what is unchanged."""
    changed = dict(base)
    addressed = {key: value for key, value in point.items() if "." in key}
    if not addressed:
        return changed
    try:
        followers = dependents.values(addressed)
    except OmegaConfBaseException as err:
        where = variant.provenance.where("sweep")
        raise ConfigError(Problem(what=str(err).splitlines()[0], where=where)) from err
    copied: set[int] = set()
    for key, value in (*followers.items(), *addressed.items()):
        try:
            _set(changed, key.split("."), value, copied)
        except (IndexError, ValueError) as err:
            what = f"'{key}' addresses an item of a list that is not there"
            raise ConfigError(Problem(what=what, where=variant.provenance.where(key))) from err
    return changed


def _set(root: dict[str, Any], path: Sequence[str], value: Any, copied: set[int]) -> None:
    """Set a dotted key, copying each container on the way once, so that points never share a change."""
    node: Any = root
    for part in path[:-1]:
        step: Any = int(part) if isinstance(node, list) else part
        inner = node[step] if isinstance(node, list) else node.get(step)
        if not isinstance(inner, dict | list):
            inner = {}
        if id(inner) not in copied:
            inner = inner.copy()
            copied.add(id(inner))
        node[step] = inner
        node = inner
    node[int(path[-1]) if isinstance(node, list) else path[-1]] = value


class _Sections:
    """Types each distinct section once: points share the sections that the sweep does not touch."""

    def __init__(self) -> None:
        self._typed: dict[tuple[str, int], Any] = {}
        self._alive: list[Any] = []  # keeps the ids in the keys from being used again

    def project(self, data: Mapping[str, Any], variant: Variant) -> Project:
        """Return the typed configuration. Raises ConfigError with file and line of every fault."""
        types = field_types(Project)
        faults = [
            Fault(name, f"unknown key '{name}'", _unknown_root_fix(name, [*types]))
            for name in data
            if name not in types
        ]
        values: dict[str, Any] = {}
        for name, hint in types.items():
            section = data.get(name)
            try:
                values[name] = self._section(name, hint, {} if section is None else section)
            except FaultyConfig as err:
                faults.extend(err.faults)
        if faults:
            raise _located(FaultyConfig(tuple(faults)), variant)
        return Project(**values)

    def _section(self, name: str, hint: Any, section: Any) -> Any:
        key = (name, id(section))
        if key not in self._typed:
            self._typed[key] = parse(hint, section, name)
            self._alive.append(section)
        return self._typed[key]


def _unknown_root_fix(name: str, known: Sequence[str]) -> str:
    hint = nearest(name, known)
    return hint if hint.startswith("did") else f"a parameter of all entries goes into sweep.base_values; {hint}"


def _located(err: FaultyConfig, variant: Variant) -> ConfigError:
    return ConfigError(
        Problem(what=fault.what, where=variant.provenance.where(fault.key), fix=fault.fix) for fault in err.faults
    )
