"""What composing gives: a configuration for each choice of groups, and what of it is swept."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig

from oellm_bench.config.overrides import option_name
from oellm_bench.config.provenance import Provenance

Choices = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """The configuration for one choice of groups, interpolations still in place.

    `choices` are the values of the group axes that lead here, e.g. `{"backend": "script"}`. `chosen`: the same with
    further choices, those that points of its sweep make.
    """

    config: DictConfig
    choices: Mapping[str, str]
    provenance: Provenance
    chosen: Mapping[Choices, Variant] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Composition:
    """What came of a root file and its overrides: one variant per distinct choice of groups on the command line.

    `swept` are the axes given on the command line that are no groups; `groups` the keys of sweeps that choose one.
    """

    reference: str
    variants: tuple[Variant, ...]
    swept: Mapping[str, Sequence[Any]]
    groups: Collection[str] = ()

    @property
    def configs(self) -> list[DictConfig]:
        """Return every configuration that points are made of."""
        return [part.config for variant in self.variants for part in variant.chosen.values() or (variant,)]


def choices_of(values: Mapping[str, Any], groups: Collection[str]) -> Choices:
    """Return the group choices among the values of a point."""
    return tuple((key, option_name(value)) for key, value in values.items() if is_choice(key, value, groups))


def is_choice(key: str, value: object, groups: Collection[str]) -> bool:
    """Tell whether a value of a point chooses an option of a group; a mapping says what the section is instead."""
    return key in groups and not isinstance(value, Mapping)
