"""Interpolations of a composed configuration: resolved once, and again only where a sweep touches them."""

from __future__ import annotations

import copy
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from oellm_bench.config.provenance import Provenance
from oellm_bench.errors import ConfigError, Problem

_REFERENCE = re.compile(r"\$\{([^${}]*)\}")
_ENVIRONMENT = re.compile(r"[Ee]nvironment variable '([^']*)' not found")
_VARIABLE = re.compile(r"\$\{oc\.env:([^${},]*)\}")


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
        plain = OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as err:
        plain = OmegaConf.to_container(config, resolve=False)
        for key, text in interpolated_leaves(config):
            if (leaf_error := _error_of(config, key)) is not None:
                problems += _unresolved(key, text, leaf_error, provenance)
                keys.add(key)
        problems = problems or [Problem(what=str(err).splitlines()[0])]
    assert isinstance(plain, dict)
    for key, value in leaves(plain):
        if what := useless_value(value) or useless_value(key):
            problems.append(Problem(what=what, where=provenance.where(key), fix="give a value"))
            keys.add(key)
    data = {str(key): value for key, value in plain.items()}
    if problems:
        interpolated = {key for key, _ in interpolated_leaves(config)}
        raise Unresolved(problems, data, frozenset(keys | interpolated))
    return data


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
    """Yield dotted key and text of every value that holds an interpolation."""
    for key, value in leaves(OmegaConf.to_container(config, resolve=False)):
        if isinstance(value, str) and "${" in value:
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


def _unresolved(key: str, text: str, err: Exception, provenance: Provenance) -> list[Problem]:
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
    names = [name for name in _REFERENCE.findall(text) if re.fullmatch(r"[A-Z][A-Z0-9_]*", name)]
    fix = (
        f"write ${{oc.env:{names[0]}}} for an environment variable"
        if names
        else "point it to a key that exists; a literal ${ is written \\${"
    )
    return [Problem(what=f"'{text}' cannot be resolved ({str(err).splitlines()[0]})", where=where, fix=fix)]


class Dependents:
    """The values that follow swept keys through interpolations.

    A sweep that touches none of them costs nothing; otherwise each is resolved once per distinct choice of the
    swept values it depends on, not once per point.
    """

    def __init__(self, config: DictConfig, keys: Sequence[str]) -> None:
        self._config = config
        self._works: dict[tuple[str, ...], DictConfig] = {}
        texts = dict(interpolated_leaves(config))
        self._leaves = {leaf: tuple(key for key in keys if _follows(leaf, key, texts, frozenset())) for leaf in texts}
        self._leaves = {leaf: needs for leaf, needs in self._leaves.items() if needs}
        self._memo: dict[tuple[str, str], Any] = {}

    def values(self, point: Mapping[str, Any]) -> dict[str, Any]:
        """Return the dependent values for one point, by dotted key. Raises OmegaConf's errors."""
        found: dict[str, Any] = {}
        for leaf, needs in self._leaves.items():
            given = {key: point[key] for key in needs if key in point}
            if not given or any(leaf == key or leaf.startswith(f"{key}.") for key in point):
                continue
            memo_key = (leaf, repr(given))
            if memo_key not in self._memo:
                self._memo[memo_key] = self._value(leaf, given)
            found[leaf] = self._memo[memo_key]
        return found

    def _value(self, leaf: str, given: Mapping[str, Any]) -> Any:
        # A copy per set of keys: what an earlier point of another alternative has set must not linger.
        work = self._works.get(tuple(given))
        if work is None:
            work = self._works[tuple(given)] = copy.deepcopy(self._config)
            OmegaConf.set_struct(work, False)
        for key, value in given.items():
            OmegaConf.update(work, key, value, merge=False, force_add=True)
        value = OmegaConf.select(work, leaf, throw_on_resolution_failure=True)
        return OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig | ListConfig) else value


def _follows(leaf: str, key: str, texts: Mapping[str, str], seen: frozenset[str]) -> bool:
    """Tell whether the interpolation at `leaf` leads to `key`, over other interpolations if need be."""
    if leaf in seen:
        return False
    text = texts[leaf]
    references = _REFERENCE.findall(text)
    if _REFERENCE.sub("", text).count("${"):
        return True  # nested: what it refers to is known only once it is resolved
    for reference in references:
        if ":" in reference:
            if not reference.startswith("oc.env:"):
                return True
            continue
        target = _absolute(reference, leaf)
        if _overlap(target, key):
            return True
        if any(_overlap(target, other) and _follows(other, key, texts, seen | {leaf}) for other in texts):
            return True
    return False


def _absolute(reference: str, leaf: str) -> str:
    """Return a relative reference (`.x`, `..x`) as seen from the root."""
    dots = len(reference) - len(reference.lstrip("."))
    if not dots:
        return reference
    parents = leaf.split(".")[:-dots]
    return ".".join([*parents, reference.lstrip(".")])


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")
