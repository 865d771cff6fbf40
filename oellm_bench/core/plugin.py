"""Configurations that name their implementation."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from compoconf import Registry


@dataclass(frozen=True, kw_only=True)
class PluginConfig:
    """Base of every configuration that names its implementation by `class_name`."""

    class_name: str = dataclasses.field(init=False, default="")

    def instantiate(self, interface: Any, *arguments: Any) -> Any:
        """Return the implementation of `interface` that this configuration belongs to."""
        return Registry.get_class(interface, self.class_name)(self, *arguments)
