"""What a launcher is: it says how a command gets onto the node, bare or inside a container."""

from __future__ import annotations

import abc
from collections.abc import Sequence

from compoconf import RegistrableConfigInterface, register_interface

from oellm_bench.errors import Problem


@register_interface
class Launcher(RegistrableConfigInterface, abc.ABC):
    """One way to start an entry's command. Implementations take `(config)`."""

    @abc.abstractmethod
    def validate(self) -> Sequence[Problem]:
        """Return what is wrong with the configuration; `where` of a problem is the field's name."""

    @abc.abstractmethod
    def prefix(self) -> tuple[str, ...]:
        """Return the argv that is put in front of the command."""
