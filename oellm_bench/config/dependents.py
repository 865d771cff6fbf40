"""The values that follow swept ones through interpolations: resolved again only where a sweep touches them."""

from __future__ import annotations

import copy
import re
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
_BRACKETS = re.compile(r"\.?\[([^\]]*)\]")


class SweptValues:
    """The values of points with their own interpolations resolved, and those of the configuration that follow them.

    A sweep that touches no interpolation costs nothing; otherwise each is resolved once per distinct choice of the
    swept values that it depends on, not once per point.
    """

    def __init__(self, config: DictConfig, provenance: Provenance, keys: Sequence[str]) -> None:
        self._config = config
        self._provenance = provenance
        self._keys = tuple(keys)
        self._texts = dict(interpolated_leaves(config))
        needs = {leaf: self._followed(leaf, self._texts) for leaf in self._texts}
        self._needs = {leaf: keys for leaf, keys in needs.items() if keys}
        self._needs_of_texts: dict[tuple[str, str], tuple[str, ...]] = {}
        self._works: dict[tuple[str, ...], DictConfig] = {}
        self._memo: dict[tuple[str, str], Any] = {}

    def of(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return a point's values and, by dotted key, those that follow them. Raises ConfigError."""
        followers = {
            leaf: self._value(leaf, self._texts[leaf], needs, values)
            for leaf, needs in self._needs.items()
            if not within(leaf, values) and not values.keys().isdisjoint(needs)
        }
        own = {
            key: self._own(key, value, values) if _is_interpolated(value) else value for key, value in values.items()
        }
        return own, followers

    def _own(self, key: str, value: Any, values: Mapping[str, Any]) -> Any:
        return self._value(key, _text_of(value), (key,), values)

    def _value(self, leaf: str, text: str, needs: Sequence[str], values: Mapping[str, Any]) -> Any:
        given = {key: values[key] for key in self._reached(needs, values)}
        memo_key = (leaf, repr(given))
        if memo_key not in self._memo:
            try:
                self._memo[memo_key] = self._resolved(leaf, given)
            except OmegaConfBaseException as err:
                raise ConfigError(unresolved_problems(leaf, text, err, self._provenance)) from err
        return self._memo[memo_key]

    def _reached(self, needs: Sequence[str], values: Mapping[str, Any]) -> list[str]:
        """Return the swept keys that a value depends on, over interpolations in swept values too; outer keys first."""
        waiting, reached = [*needs], dict[str, None]()
        while waiting:
            key = waiting.pop()
            if key in reached or not self._is_address(key, values.get(key, key)) or key not in values:
                continue
            reached[key] = None
            if _is_interpolated(values[key]):
                waiting += self._text_needs(key, _text_of(values[key]))
        return sorted(reached, key=lambda key: (key.count("."), key))

    def _is_address(self, key: str, value: object) -> bool:
        """Tell whether a value is one of the configuration, or a parameter whose name nothing there has."""
        return "." in key or key not in self._config or isinstance(value, Mapping)

    def _text_needs(self, key: str, text: str) -> tuple[str, ...]:
        if (key, text) not in self._needs_of_texts:
            self._needs_of_texts[key, text] = self._followed(key, {**self._texts, key: text})
        return self._needs_of_texts[key, text]

    def _followed(self, leaf: str, texts: Mapping[str, str]) -> tuple[str, ...]:
        return tuple(key for key in self._keys if key != leaf and _follows(leaf, key, texts, frozenset()))

    def _resolved(self, leaf: str, given: Mapping[str, Any]) -> Any:
        # A copy per set of keys: what an earlier point of another alternative has set must not linger.
        work = self._works.get(tuple(given))
        if work is None:
            work = self._works[tuple(given)] = _open_copy(self._config)
        for key, value in given.items():
            OmegaConf.update(work, key, value, merge=False, force_add=True)
        value = OmegaConf.select(work, leaf, throw_on_resolution_failure=True)
        return OmegaConf.to_container(value, resolve=True) if isinstance(value, DictConfig | ListConfig) else value


def _text_of(value: object) -> str:
    return " ".join(str(leaf) for _, leaf in leaves(value))


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
    """Return a reference as seen from the root and without brackets: `.x`, `..x`, `a[b]`."""
    reference = _BRACKETS.sub(r".\1", reference)
    dots = len(reference) - len(reference.lstrip("."))
    if not dots:
        return reference
    parents = leaf.split(".")[:-dots]
    return ".".join([*parents, reference.lstrip(".")])


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")
