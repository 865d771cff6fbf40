"""What a launcher is: it says how a command gets onto the node, bare or inside a container."""

from __future__ import annotations

import abc
from collections.abc import Sequence
from dataclasses import dataclass

from compoconf import RegistrableConfigInterface, register_interface

from oellm_bench.errors import Problem


@dataclass(frozen=True, kw_only=True)
class Place:
    """What of the node a command has to see, under the same paths: absolute, known when planning.

    Folders in `writable` are inside of those in `readable` where they overlap.
    """

    cwd: str
    readable: tuple[str, ...] = ()
    writable: tuple[str, ...] = ()


@register_interface
class Launcher(RegistrableConfigInterface, abc.ABC):
    """One way to start an entry's command. Implementations take `(config)`.

    `isolates` tells whether variables of the job do not arrive behind it by themselves.
    """

    isolates = False

    @abc.abstractmethod
    def validate(self) -> Sequence[Problem]:
        """Return what is wrong with the configuration; `where` of a problem is the field's name."""

    @abc.abstractmethod
    def prefix(self, place: Place) -> tuple[str, ...]:
        """Return the argv that is put in front of the command."""

    def image(self) -> str:
        """Return the path of a file that has to be there, empty where there is none."""
        return ""
