"""The points of a campaign as typed configurations."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from omegaconf.errors import OmegaConfBaseException

from oellm_bench.builtins import load_all
from oellm_bench.config.compose import Composition, Variant
from oellm_bench.config.provenance import OverlaidProvenance
from oellm_bench.config.resolve import Dependents, Unresolved, resolve
from oellm_bench.config.schema import Project, SweepConfig
from oellm_bench.config.sweep import Point, expand, keys_of, repeated
from oellm_bench.config.typing import Fault, FaultyConfig, field_types, parse
from oellm_bench.errors import ConfigError, Problem, nearest

# Sections without packaged values, where null is what YAML has when all items are commented out.
_MAY_BE_NULL = frozenset({"datasets", "metrics", "paths", "requirements", "sink_data", "sweep"})


@dataclass(frozen=True, kw_only=True)
class ConfiguredPoint:
    """One point of a sweep: its parameters (group choices first) and the whole configuration for it.

    `name`: the entry's, where it does not follow from the parameters; `group`: what its repetitions have in common,
    where it has any.
    """

    parameters: Mapping[str, Any]
    project: Project
    variant: Variant
    name: str = ""
    group: str = ""


def base_project(composition: Composition) -> Project:
    """Return the configuration without its sweep, from the first variant. Raises ConfigError."""
    load_all()
    variant = composition.variants[0]
    sections = _Sections()
    return sections.project(_resolved(variant, sections), variant)


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
    sections = _Sections()
    base = _resolved(variant, sections)
    typed = {key: value for key in variant.provenance.overrides if "." in key for value in _values_at(base, key)}
    points: list[ConfiguredPoint] = []
    problems: dict[Problem, None] = {}
    for overlay in overlays:
        data, copied = dict(base), set[int]()
        for key, value in overlay.values.items():
            _set(data, key.split("."), value, copied)
        for key, value in typed.items():
            _set(data, key.split("."), value, copied)
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


def _values_at(data: Any, key: str) -> Iterator[Any]:
    """Yield the value of a dotted key; nothing where it was taken out."""
    try:
        for part in key.split("."):
            data = data[int(part)] if isinstance(data, list) else data[part]
    except (LookupError, TypeError, ValueError):
        return
    yield data


def normalised(data: Mapping[str, Any]) -> dict[str, Any]:
    """Accept `restart_policies` at the root as well as inside `restart`; the root's wins."""
    data = {**data, "requirements": data.get("requirements") or []}
    if "restart_policies" not in data:
        return data
    rest = {key: value for key, value in data.items() if key != "restart_policies"}
    restart = rest.get("restart", {})
    if not isinstance(restart, Mapping):
        return rest  # whatever it is, it is refused
    return {**rest, "restart": {**restart, "restart_policies": data["restart_policies"]}}


def _variant_points(variant: Variant, swept: Mapping[str, Sequence[Any]]) -> Iterator[ConfiguredPoint]:
    sections = _Sections()
    base = _resolved(variant, sections)
    try:
        sweep = parse(SweepConfig, base.get("sweep") or {}, "sweep")
    except FaultyConfig as err:
        raise _located(err.faults, variant) from err
    if (base.get("sweep") or {}).get("axes") == {} and not (sweep.base_values or swept):
        where = variant.provenance.where("sweep.axes")
        raise ConfigError(Problem(what="the sweep has no axes", where=where, fix="take axes out for a single entry"))
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


def _resolved(variant: Variant, sections: _Sections) -> dict[str, Any]:
    """Return the configuration as plain data. Raises ConfigError, for values that are none and all other faults."""
    try:
        return normalised(resolve(variant.config, variant.provenance))
    except Unresolved as err:
        faults = sections.faults(normalised(err.data))
        others = _located([fault for fault in faults if not _touches(fault.key, err.keys)], variant)
        raise ConfigError([*err.problems, *others.problems]) from err


def _located_expand(sweep: SweepConfig, swept: Mapping[str, Sequence[Any]], variant: Variant) -> list[Point]:
    try:
        return repeated(expand(sweep, swept, variant.choices), sweep.repeat)
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
        values, faults = self._values(data)
        if faults:
            raise _located(faults, variant)
        return Project(**values)

    def faults(self, data: Mapping[str, Any]) -> list[Fault]:
        """Return every fault of the data."""
        return self._values(data)[1]

    def _values(self, data: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
        types = field_types(Project)
        faults = [
            Fault(name, f"unknown key '{name}'", _unknown_root_fix(name, [*types]))
            for name in data
            if name not in types
        ]
        faults += [
            Fault(name, "null would take away the packaged values", "give a mapping, or take the line out")
            for name in types
            if name in data and data[name] is None and name not in _MAY_BE_NULL
        ]
        values: dict[str, Any] = {}
        for name, hint in types.items():
            section = data.get(name, {})
            if section is None and name not in _MAY_BE_NULL:
                continue
            try:
                values[name] = self._section(name, hint, {} if section is None else section)
            except FaultyConfig as err:
                faults.extend(err.faults)
        return values, faults

    def _section(self, name: str, hint: Any, section: Any) -> Any:
        key = (name, id(section))
        if key not in self._typed:
            self._typed[key] = parse(hint, section, name)
            self._alive.append(section)
        return self._typed[key]


def _unknown_root_fix(name: str, known: Sequence[str]) -> str:
    hint = nearest(name, known)
    return hint if hint.startswith("did") else f"a parameter of all entries goes into sweep.base_values; {hint}"


def _touches(key: str, keys: Collection[str]) -> bool:
    """Tell whether a key is among `keys`, above or below one of them."""
    return any(key == other or key.startswith(f"{other}.") or other.startswith(f"{key}.") for other in keys)


def _located(faults: Sequence[Fault], variant: Variant) -> ConfigError:
    return ConfigError(
        Problem(what=fault.what, where=variant.provenance.where(fault.key), fix=fault.fix) for fault in faults
    )
