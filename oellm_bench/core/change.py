"""How an attempt differs from what the plan says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Change:
    """More time, more memory, fewer nodes to choose from.

    Time and memory add to what decisions before have changed; a list of nodes takes the place of an earlier one.
    """

    extra_time_s: float = 0.0
    memory_factor: float = 1.0
    exclude: tuple[str, ...] = ()

    def then(self, more: Change) -> Change:
        """Return this change with another one on top."""
        return Change(
            extra_time_s=self.extra_time_s + more.extra_time_s,
            memory_factor=self.memory_factor * more.memory_factor,
            exclude=more.exclude or self.exclude,
        )

    @property
    def asks_for_more(self) -> bool:
        """Whether a cluster may have no place for it that had one for what the plan says."""
        return self.memory_factor != 1 or bool(self.exclude)
