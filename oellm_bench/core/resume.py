"""How a later attempt of an entry goes on where one before it was."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath

# Filled in by the job: before it runs nobody knows which checkpoint will be there.
PLACEHOLDER = "{checkpoint}"
ITERATION = "{checkpoint_iteration}"
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Where checkpoints lie, and how the command is told of one.

    `pattern`: a glob pattern, absolute. `complete`: the file in a checkpoint's folder that is written last, empty: any.
    `tracker`: the file beside the checkpoints that holds the number of the newest whole one, empty: there is none; what
    has a higher number is not whole. `arguments` are added to the command; PLACEHOLDER in them is the checkpoint's
    path, ITERATION its number. `without`: arguments of the command that hold only where it begins anew.
    """

    pattern: str
    complete: str = ""
    arguments: tuple[str, ...] = ()
    tracker: str = ""
    without: tuple[str, ...] = ()

    def arguments_for(self, checkpoint: str) -> tuple[str, ...]:
        """Return what the command is told of a checkpoint."""
        number = str(number_of(checkpoint))
        return tuple(arg.replace(ITERATION, number).replace(PLACEHOLDER, checkpoint) for arg in self.arguments)

    def resumed(self, command: Sequence[str], checkpoint: str) -> tuple[str, ...]:
        """Return the command that goes on from a checkpoint."""
        kept = (argument for argument in command if argument not in self.without)
        return (*kept, *self.arguments_for(checkpoint))


def number_of(checkpoint: str) -> int:
    """Return the last number in a checkpoint's name, 0 where there is none: 100 for iter_0000100."""
    return int((_NUMBER.findall(PurePath(checkpoint).name) or ["0"])[-1])
