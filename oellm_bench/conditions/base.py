"""What a condition is: a question about the world that an entry's start or end hangs on."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from compoconf import RegistrableConfigInterface, register_interface

from oellm_bench.core.plugin import PluginConfig
from oellm_bench.errors import Problem
from oellm_bench.placeholders import expand, expand_pattern
from oellm_bench.shell import Completed

Progress = Literal["waiting", "started", "succeeded", "failed"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Whether a condition holds, and why.

    `is_known` is false while the answer is still being found out: then it counts neither as yes nor as no.
    `is_final`: no waiting will change the answer.
    """

    holds: bool
    reason: str
    is_known: bool = True
    is_final: bool = False

    @property
    def never(self) -> bool:
        """Whether it does not hold and never will."""
        return self.is_final and not self.holds


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a condition may look at, beside the file system.

    `lookup` gives the entry's own values for templates; relative paths start from `folder`. `progress` tells how
    far another entry is, None for one that is not part of this session; `signals` how often its logs have given a
    signal, in all its attempts. `run` returns how a command ended, None while
    it has not (it never blocks): `(argv, folder, timeout_s, every_s)`. `waiting_s` is how long the entry has waited to
    be submitted, `running_s` how long its attempt has run, None where it does not.
    """

    lookup: Callable[[str], str | None]
    folder: Path
    progress: Callable[[str], Progress | None]
    signals: Callable[[str, str], int]
    run: Callable[[Sequence[str], Path, float, float], Completed | None]
    waiting_s: float
    running_s: float | None

    def fill(self, template: str) -> str:
        """Return a text with the entry's values in it."""
        return expand(template, self.lookup)

    def path(self, template: str) -> Path:
        """Return a path of the entry's, from a template."""
        return self.folder / self.fill(template)

    def pattern(self, template: str) -> str:
        """Return a pattern for paths: only what the template itself says is one, not the values put into it."""
        return expand_pattern(template, self.lookup, self.folder)


@register_interface
class Condition(RegistrableConfigInterface, abc.ABC):
    """One question. Implementations take `(config)`, keep no state, and answer quickly.

    `is_costly`: it starts something to find out, and is not asked where the answer makes no difference.
    `needs_a_running_job`: it can never hold before one runs.
    """

    is_costly = False
    needs_a_running_job = False

    @abc.abstractmethod
    def check(self, facts: Facts) -> Finding:
        """Return the answer of this moment."""

    def validate(self) -> Sequence[Problem]:
        """Return what is wrong with the configuration; `where` of a problem is the field's name."""
        return ()

    def templates(self) -> Sequence[str]:
        """Return the texts that have placeholders in them."""
        return ()

    def entries(self) -> Sequence[str]:
        """Return the names (templates) of the entries that are asked about."""
        return ()

    def requires(self) -> Sequence[str]:
        """Return the names (templates) of the entries without which it can never hold."""
        return ()


if TYPE_CHECKING:
    ConditionChoice = PluginConfig
else:  # resolved by compoconf when a configuration is read: whatever is registered by then
    ConditionChoice = Condition.cfgtype


def at_least(field: str, value: float, least: float, *, above: bool = False) -> list[Problem]:
    """Return the problem of a number that is too small to work, if it is."""
    if value > least or (value == least and not above):
        return []
    return [
        Problem(what=f"{value} cannot work", where=field, fix=f"give {'more than' if above else 'at least'} {least:g}")
    ]


def not_empty(field: str, text: str) -> list[Problem]:
    """Return the problem of a text that says nothing, if it does."""
    return [] if text.strip() else [Problem(what="it is empty", where=field, fix="give one")]
