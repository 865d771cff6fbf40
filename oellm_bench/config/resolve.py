"""A composed configuration as plain data, its interpolations resolved."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from oellm_bench.config.provenance import Provenance
from oellm_bench.errors import ConfigError, Problem

SWEEP = "sweep"
# What of a sweep is no value of its points.
_RESOLVED = frozenset(("type", "filter", "list_composition", "siblings", "name_template", "repeat"))
REFERENCE = re.compile(r"\$\{([^${}]*)\}")
_ENVIRONMENT = re.compile(r"[Ee]nvironment variable '([^']*)' not found")
_VARIABLE = re.compile(r"\$\{oc\.env:([^${},]*)\}")
_NAMED_AS_VALUE = re.compile(r"\$\{oc\.env:\s*\$(\w+)")


class Unresolved(ConfigError):
    """Values that are none. `data` is the configuration without them, `keys` are theirs: the rest can be checked."""

    def __init__(self, problems: Sequence[Problem], data: dict[str, Any], keys: frozenset[str]) -> None:
        super().__init__(problems)
        self.data = data
        self.keys = keys


def resolve(config: DictConfig, provenance: Provenance) -> dict[str, Any]:
    """Return the configuration as plain data.

    Raises Unresolved with every reference that leads nowhere, and every value that is none.
    """
    problems: list[Problem] = []
    keys: set[str] = set()
    try:
        plain: dict[str, Any] = {str(key): _plain(config, key) for key in config if key != SWEEP}
    except OmegaConfBaseException as err:
        unresolved = OmegaConf.to_container(config, resolve=False)
        assert isinstance(unresolved, dict)
        plain = {str(key): value for key, value in unresolved.items() if key != SWEEP}
        for key, text in interpolated_leaves(config):
            if (leaf_error := _error_of(config, key)) is not None:
                problems += unresolved_problems(key, text, leaf_error, provenance)
                keys.add(key)
        problems = problems or [Problem(what=str(err).splitlines()[0])]
    try:
        data = {**plain, **({SWEEP: sweep_data(config, provenance)} if SWEEP in config else {})}
    except ConfigError as err:
        data = plain
        problems += err.problems
    for key, text in interpolated_leaves(config):
        if named := _NAMED_AS_VALUE.search(text):
            fix = f"write ${{oc.env:{named[1]},...}}"
            problems.append(
                Problem(what=f"'{text}' asks for the variable '${named[1]}'", where=provenance.where(key), fix=fix)
            )
            keys.add(key)
    for key, value in leaves(data):
        if what := useless_value(value) or useless_value(key):
            problems.append(Problem(what=what, where=provenance.where(key), fix="give a value"))
            keys.add(key)
    if problems:
        interpolated = {key for key, _ in interpolated_leaves(config)}
        raise Unresolved(problems, data, frozenset(keys | interpolated))
    return data


def sweep_data(config: DictConfig, provenance: Provenance) -> Any:
    """Return the sweep as plain data: interpolations in its values stay, since they are those of each point.

    Raises ConfigError where what it consists of cannot be found.
    """
    node: Any = config
    key: Any = SWEEP
    try:
        sweep = config.get(SWEEP)
        if not isinstance(sweep, DictConfig):
            return sweep
        node, found = sweep, {}
        for key in sweep:
            found[str(key)] = _plain(sweep, key) if key in _RESOLVED else _structure(sweep, key)
    except OmegaConfBaseException as err:
        raw: Any = OmegaConf.to_container(node, resolve=False)
        name = SWEEP if node is config else f"{SWEEP}.{key}"
        raise ConfigError(unresolved_problems(name, str(raw[key]), err, provenance)) from err
    return found


def _plain(node: DictConfig | ListConfig, key: Any) -> Any:
    if OmegaConf.is_missing(node, key):
        return "???"
    value = node[key]
    return OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig | ListConfig) else value


def _structure(node: DictConfig | ListConfig, key: Any) -> Any:
    """Return a value with its interpolations, but those that stand for a whole list or mapping resolved."""
    if OmegaConf.is_interpolation(node, key):
        raw: Any = OmegaConf.to_container(node, resolve=False)
        try:
            value = _plain(node, key)
        except OmegaConfBaseException:
            return raw[key]
        return value if isinstance(value, list | dict) else raw[key]
    value = "???" if OmegaConf.is_missing(node, key) else node[key]
    if isinstance(value, DictConfig):
        return {name: _structure(value, name) for name in value}
    if isinstance(value, ListConfig):
        return [_structure(value, position) for position in range(len(value))]
    return value


def useless_value(value: object) -> str:
    """Return why a value can stand in no configuration, empty where it can."""
    if value == "???":
        return "a value is missing (???)"
    if isinstance(value, float) and not math.isfinite(value):
        return f"{value} is not a finite number"
    if isinstance(value, bytes):
        return "bytes can stand in no plan"
    return _useless_text(value) if isinstance(value, str) else ""


def _useless_text(text: str) -> str:
    if "\0" in text:
        return f"{text!r} holds a NUL character, which no command, variable or path can"
    try:
        text.encode()
    except UnicodeEncodeError:
        return f"{text!r} cannot be written as UTF-8"
    return ""


def interpolated_leaves(config: DictConfig) -> Iterator[tuple[str, str]]:
    """Yield dotted key and text of every value outside of the sweep that holds an interpolation."""
    for key, value in leaves(OmegaConf.to_container(config, resolve=False)):
        if isinstance(value, str) and "${" in value and not key.startswith(f"{SWEEP}."):
            yield key, value


def leaves(node: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Yield dotted key and value of everything that is no collection."""
    if isinstance(node, Mapping | list):
        items = node.items() if isinstance(node, Mapping) else enumerate(node)
        for name, value in items:
            yield from leaves(value, f"{key}.{name}" if key else str(name))
    else:
        yield key, node


def _error_of(config: DictConfig, key: str) -> Exception | None:
    try:
        value = OmegaConf.select(config, key, throw_on_resolution_failure=True)
        if isinstance(value, DictConfig | ListConfig):
            OmegaConf.to_container(value, resolve=True)
    except OmegaConfBaseException as err:
        return err
    return None


def unresolved_problems(key: str, text: str, err: Exception, provenance: Provenance) -> list[Problem]:
    """Return why the interpolations of a value lead nowhere, and what would be right."""
    where = provenance.where(key)
    variable = _ENVIRONMENT.search(str(err))
    if variable:
        missing = [name for name in _VARIABLE.findall(text) if name not in os.environ]
        return [
            Problem(
                what=f"environment variable {name} is not set ({text})",
                where=where,
                fix=f"export {name}, or give a default: ${{oc.env:{name},DEFAULT}}",
            )
            for name in dict.fromkeys([*missing, variable[1]])
        ]
    references = REFERENCE.findall(text)
    names = [name for name in references if re.fullmatch(r"[A-Z][A-Z0-9_]*", name)]
    fix = "point it to a key that exists; a literal ${ is written \\${"
    if names:
        fix = f"write ${{oc.env:{names[0]}}} for an environment variable"
    elif any(name.startswith("sibling.") for name in references):
        fix = "write ${sibling:STAGE.FIELD} for the entry of another stage"
    elif any(name.startswith("now:") for name in references):
        fix = "a plan has to be the same each time: take the time in the command, or export a variable"
    return [Problem(what=f"'{text}' cannot be resolved ({str(err).splitlines()[0]})", where=where, fix=fix)]
