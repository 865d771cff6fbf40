"""Sections of a configuration as typed values, each distinct one typed once."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from oellm_bench.config.resolve import Unresolved, resolve
from oellm_bench.config.schema import Project
from oellm_bench.config.typing import Fault, FaultyConfig, field_types, parse
from oellm_bench.config.variant import Variant
from oellm_bench.errors import ConfigError, Problem, nearest

# Sections without packaged values, where null is what YAML has when all items are commented out.
_MAY_BE_NULL = frozenset({"datasets", "metrics", "paths", "requirements", "sink_data", "sweep"})
_NOTHING: Mapping[str, Any] = {}  # one and the same, so that what is not said is typed once


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


class Sections:
    """Types each distinct section once: points share the sections that the sweep does not touch."""

    def __init__(self) -> None:
        self._typed: dict[tuple[str, int], Any] = {}
        self._alive: list[Any] = []  # keeps the ids in the keys from being used again

    def project(self, data: Mapping[str, Any], variant: Variant) -> Project:
        """Return the typed configuration. Raises ConfigError with file and line of every fault."""
        values, faults = self._values(data)
        if faults:
            raise located(faults, variant)
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
            section = data.get(name, _NOTHING)
            if section is None and name not in _MAY_BE_NULL:
                continue
            try:
                values[name] = self._section(name, hint, _NOTHING if section is None else section)
            except FaultyConfig as err:
                faults.extend(err.faults)
        return values, faults

    def _section(self, name: str, hint: Any, section: Any) -> Any:
        key = (name, id(section))
        if key not in self._typed:
            self._typed[key] = parse(hint, section, name)
            self._alive.append(section)
        return self._typed[key]


def resolved(variant: Variant, sections: Sections) -> dict[str, Any]:
    """Return the configuration as plain data. Raises ConfigError, for values that are none and all other faults."""
    try:
        return normalised(resolve(variant.config, variant.provenance))
    except Unresolved as err:
        faults = sections.faults(normalised(err.data))
        others = located([fault for fault in faults if not _touches(fault.key, err.keys)], variant)
        raise ConfigError([*err.problems, *others.problems]) from err


def _unknown_root_fix(name: str, known: Sequence[str]) -> str:
    hint = nearest(name, known)
    return hint if hint.startswith("did") else f"a parameter of all entries goes into sweep.base_values; {hint}"


def _touches(key: str, keys: Collection[str]) -> bool:
    """Tell whether a key is among `keys`, above or below one of them."""
    return any(key == other or key.startswith(f"{other}.") or other.startswith(f"{key}.") for other in keys)


def located(faults: Sequence[Fault], variant: Variant) -> ConfigError:
    """Return the faults as problems that say their file and line."""
    return ConfigError(
        Problem(what=fault.what, where=variant.provenance.where(fault.key), fix=fault.fix) for fault in faults
    )
