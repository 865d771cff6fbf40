"""Declare configuration fields: every one has a type, a default, a unit and a meaning."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

REQUIRED = dataclasses.MISSING


def option(
    meaning: str,
    default: Any = REQUIRED,
    *,
    unit: str = "",
    factory: Callable[[], Any] | None = None,
    known: Mapping[str, tuple[str, str]] | None = None,
) -> Any:
    """Return a dataclass field; without `default` and `factory` the user must give a value.

    `known`: form and meaning by key, for a mapping whose common keys are worth listing.
    """
    metadata = {"meaning": meaning, "unit": unit, "known": known or {}}
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)
