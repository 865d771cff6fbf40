"""The values that follow swept ones through interpolations: resolved again only where a sweep touches them."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from oellm_bench.config.placing import within
from oellm_bench.config.provenance import Provenance
from oellm_bench.config.resolve import REFERENCE, interpolated_leaves, leaves, unresolved_problems
from oellm_bench.errors import ConfigError

# Resolvers whose value has nothing to do with the rest of the configuration.
_APART = ("oc.env:", "sibling:")


class SweptValues:
    """The values of points with their own interpolations resolved, and those of the configuration that follow them."""

    def __init__(self, config: DictConfig, provenance: Provenance, keys: Sequence[str]) -> None:
        self._config = config
        self._provenance = provenance
        self._keys = [key for key in keys if "." in key or key not in config]
        self._by_texts: dict[str, _Dependents] = {}

    def of(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return a point's values and, by dotted key, those that follow them. Raises ConfigError."""
        texts = {key: value for key, value in values.items() if _is_interpolated(value)}
        given = {key: value for key, value in values.items() if key not in texts}
        name = repr(texts) if texts else ""
        dependents = self._by_texts.get(name)
        if dependents is None:
            dependents = self._by_texts[name] = _Dependents(self._config, self._keys, texts)
        found = dependents.values(given, self._provenance)
        own = {key: found.pop(key) if key in texts else value for key, value in values.items()}
        return own, found


class _Dependents:
    """The interpolations of a configuration in which some values have been replaced by interpolated `texts`.

    A sweep that touches none of them costs nothing; otherwise each is resolved once per distinct choice of the
    swept values it depends on, not once per point.
    """

    def __init__(self, config: DictConfig, keys: Sequence[str], texts: Mapping[str, Any]) -> None:
        self._config = _open_copy(config) if texts else config
        for key, value in texts.items():
            OmegaConf.update(self._config, key, value, merge=False, force_add=True)
        self._texts = {key: text for key, text in interpolated_leaves(config) if not within(key, texts)}
        self._texts |= {key: " ".join(str(leaf) for _, leaf in leaves(value)) for key, value in texts.items()}
        needs = {
            leaf: tuple(key for key in keys if key not in texts and _follows(leaf, key, self._texts, frozenset()))
            for leaf in self._texts
        }
        self._needs = {leaf: keys for leaf, keys in needs.items() if keys or leaf in texts}
        self._own = frozenset(texts)
        self._works: dict[tuple[str, ...], DictConfig] = {}
        self._memo: dict[tuple[str, str], Any] = {}

    def values(self, point: Mapping[str, Any], provenance: Provenance) -> dict[str, Any]:
        """Return the values that follow those of a point, by dotted key. Raises ConfigError."""
        found: dict[str, Any] = {}
        for leaf, needs in self._needs.items():
            given = {key: point[key] for key in needs if key in point}
            if leaf not in self._own and (not given or within(leaf, point)):
                continue
            memo_key = (leaf, repr(given))
            if memo_key not in self._memo:
                try:
                    self._memo[memo_key] = self._value(leaf, given)
                except OmegaConfBaseException as err:
                    raise ConfigError(unresolved_problems(leaf, self._texts[leaf], err, provenance)) from err
            found[leaf] = self._memo[memo_key]
        return found

    def _value(self, leaf: str, given: Mapping[str, Any]) -> Any:
        # A copy per set of keys: what an earlier point of another alternative has set must not linger.
        work = self._works.get(tuple(given))
        if work is None:
            work = self._works[tuple(given)] = _open_copy(self._config)
        for key, value in given.items():
            OmegaConf.update(work, key, value, merge=False, force_add=True)
        value = OmegaConf.select(work, leaf, throw_on_resolution_failure=True)
        return OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig | ListConfig) else value


def _open_copy(config: DictConfig) -> DictConfig:
    """Return a copy that takes keys it does not have."""
    copied = copy.deepcopy(config)
    OmegaConf.set_struct(copied, False)
    return copied


def _is_interpolated(value: object) -> bool:
    if isinstance(value, str):
        return "${" in value
    return isinstance(value, list | dict) and any(isinstance(leaf, str) and "${" in leaf for _, leaf in leaves(value))


def _follows(leaf: str, key: str, texts: Mapping[str, str], seen: frozenset[str]) -> bool:
    """Tell whether the interpolation at `leaf` leads to `key`, over other interpolations if need be."""
    if leaf in seen:
        return False
    text = texts[leaf]
    references = REFERENCE.findall(text)
    if REFERENCE.sub("", text).count("${"):
        return True  # nested: what it refers to is known only once it is resolved
    for reference in references:
        if ":" in reference:
            if not reference.startswith(_APART):
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
