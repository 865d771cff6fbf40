"""Run the command on the node itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from compoconf import register

from oellm_bench.core.plugin import PluginConfig
from oellm_bench.errors import Problem
from oellm_bench.launchers.base import Launcher, Place


@dataclass(frozen=True, kw_only=True)
class HostLauncherConfig(PluginConfig):
    """No container."""


@register
class HostLauncher(Launcher):
    """The command as it is."""

    config: HostLauncherConfig

    def __init__(self, config: HostLauncherConfig) -> None:
        self.config = config

    def validate(self) -> Sequence[Problem]:
        """Nothing can be wrong."""
        return ()

    def prefix(self, place: Place) -> tuple[str, ...]:
        """Return an empty prefix."""
        return ()
