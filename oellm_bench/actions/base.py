"""What an action is: from a signal that was seen to what is to happen, as events of the journal."""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compoconf import RegistrableConfigInterface, register_interface

from oellm_bench.core.events import Event
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.errors import Problem
from oellm_bench.placeholders import expand


@dataclass(frozen=True, kw_only=True)
class Occasion:
    """A signal that asks for an action.

    `id` is its own for good: the same match never asks twice. `name` is the action's, `values` are what placeholders
    can use, `metadata` goes with the signal. `session` is the campaign's id; `embedded`: on the embedded scheduler.
    """

    id: str
    at: float
    entry: str
    attempt: int
    name: str
    signal: str
    values: Mapping[str, str]
    metadata: Mapping[str, Any]
    session: str = ""
    embedded: bool = False

    def fill(self, template: str) -> str:
        """Return a text with the signal's and the entry's values in it.

        Raises ValueError for an unclosed brace, UnknownPlaceholder for a name without a value.
        """
        return expand(template, self.values.get)


@register_interface
class Action(RegistrableConfigInterface, abc.ABC):
    """One kind of thing to do. Implementations take `(config)`, are pure, and leave the doing to who reads the events.

    What they yield is journalled together with the signal: it happens once, whenever the monitor dies.
    """

    @abc.abstractmethod
    def events(self, occasion: Occasion) -> Iterator[Event]:
        """Yield what is to happen. Raises ValueError where a placeholder has no value."""

    def validate(self) -> Sequence[Problem]:
        """Return what is wrong with the configuration; `where` of a problem is the field's name."""
        return ()

    @staticmethod
    def shorthand(text: str | list[Any]) -> Mapping[str, Any]:
        """Return what a line or a list stands for where a mapping is not given: a command."""
        return {"class_name": "CommandAction", "command": text}


if TYPE_CHECKING:
    ActionChoice = PluginConfig
else:  # resolved by compoconf when a configuration is read: whatever is registered by then
    ActionChoice = Action.cfgtype
