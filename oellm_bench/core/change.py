"""How an attempt differs from what the plan says."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Change:
    """More time, more memory, fewer nodes to choose from; each decision adds to those before it."""

    extra_time_s: float = 0.0
    memory_factor: float = 1.0
    exclude: tuple[str, ...] = ()

    def then(self, more: Change) -> Change:
        """Return this change with another one on top."""
        return Change(
            extra_time_s=self.extra_time_s + more.extra_time_s,
            memory_factor=self.memory_factor * more.memory_factor,
            exclude=tuple(dict.fromkeys((*self.exclude, *more.exclude))),
        )
