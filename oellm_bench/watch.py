"""Monitoring and restart settings of a plan, ready for use."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from oellm_bench.actions.base import Action, ActionChoice
from oellm_bench.config.schema import Project
from oellm_bench.config.typing import parse
from oellm_bench.core.result import ErrorMode
from oellm_bench.monitoring.settings import MonitoringConfig
from oellm_bench.monitoring.signals import Scanner
from oellm_bench.monitoring.signatures import Signatures
from oellm_bench.restart.base import RestartPolicy
from oellm_bench.restart.settings import RestartConfig, policies_by_mode


@dataclass(frozen=True, kw_only=True)
class WatchSettings:
    """One distinct choice of monitoring and restart settings; entries of a plan refer to it by index.

    `actions`: what signals can ask for, by name.
    """

    monitoring: MonitoringConfig
    restart: RestartConfig
    policies: dict[ErrorMode, RestartPolicy]
    scanner: Scanner
    actions: dict[str, Action]
    signatures: Signatures

    @property
    def follows_logs(self) -> bool:
        """Whether logs are read at all."""
        return self.monitoring.class_name != "NullMonitor"


def watch_settings(document: Mapping[str, Any], actions: Mapping[str, str]) -> WatchSettings:
    """Return settings from `Plan.watch`; `actions` from the command line add to and replace configured ones."""
    monitoring = parse(MonitoringConfig, document["monitoring"], "monitoring")
    restart = parse(RestartConfig, document["restart"], "restart")
    commands = {name: Action.shorthand(command) for name, command in actions.items()}
    given = {name: parse(ActionChoice, command, f"--action {name}") for name, command in commands.items()}
    return WatchSettings(
        monitoring=monitoring,
        restart=restart,
        policies=policies_by_mode(restart),
        scanner=Scanner(monitoring.log_signals, monitoring.ignore_output),
        actions={name: config.instantiate(Action) for name, config in {**monitoring.actions, **given}.items()},
        signatures=Signatures(monitoring.signatures),
    )


class WatchTable:
    """The distinct monitoring and restart settings of a plan, each once."""

    def __init__(self) -> None:
        self.settings: list[Mapping[str, Any]] = []
        self._by_identity: dict[tuple[int, int], int] = {}  # most points share the very objects
        self._by_content: dict[str, int] = {}

    def index(self, project: Project) -> int:
        """Return where a point's settings stand in the table, adding them if they are new."""
        identity_key = (id(project.monitoring), id(project.restart))
        if identity_key not in self._by_identity:
            settings = {"monitoring": asdict(project.monitoring), "restart": asdict(project.restart)}
            position = self._by_content.setdefault(repr(settings), len(self.settings))
            if position == len(self.settings):
                self.settings.append(settings)
            self._by_identity[identity_key] = position
        return self._by_identity[identity_key]
