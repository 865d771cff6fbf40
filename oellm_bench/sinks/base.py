"""What a sink is: told when a session begins, when an entry has ended, and when all have."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from compoconf import RegistrableConfigInterface, register_interface


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something for people to know. `key` is its own within the session; `entry` is a name, empty for the session."""

    key: str
    message: str
    at: float
    entry: str = ""
    attempt: int = 0


@register_interface
class Sink(RegistrableConfigInterface, abc.ABC):
    """One place results are sent to. Implementations take `(config)`; making one touches no disk and no network.

    Every call may come again after a crash: a sink keeps what it was told under the session's and the entry's
    name, so that hearing it twice changes nothing.
    """

    @abc.abstractmethod
    def initialize(self, session_name: str, env_data: Mapping[str, Any]) -> None:
        """Begin a session; `env_data` is session.json."""

    @abc.abstractmethod
    def process_result(self, result: Mapping[str, Any]) -> None:
        """Take the result of one ended entry (EntryResult as plain values)."""

    def notify(self, notice: Notice) -> None:
        """Take a notice; a sink that is not for people does nothing about it."""
        del notice

    @abc.abstractmethod
    def finalize(self) -> None:
        """End the session."""
