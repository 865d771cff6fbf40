"""How a later attempt of an entry goes on where one before it was."""

from __future__ import annotations

from dataclasses import dataclass

PLACEHOLDER = "{checkpoint}"  # filled in by the job: before it runs nobody knows which one will be there


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Where checkpoints lie, and how the command is told of one.

    `pattern`: a glob pattern, absolute. `complete`: the file in a checkpoint's folder that is written last, empty: any.
    `arguments` are added to the command; PLACEHOLDER in them is the checkpoint's path.
    """

    pattern: str
    complete: str = ""
    arguments: tuple[str, ...] = ()

    def arguments_for(self, checkpoint: str) -> tuple[str, ...]:
        """Return what the command is told of a checkpoint."""
        return tuple(argument.replace(PLACEHOLDER, checkpoint) for argument in self.arguments)
