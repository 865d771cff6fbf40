"""What a condition is: a question about the world that an entry's start or end hangs on."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from compoconf import RegistrableConfigInterface, register_interface

from oellm_bench.errors import Problem
from oellm_bench.shell import Completed

Progress = Literal["waiting", "started", "succeeded", "failed"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Whether a condition holds, and why. `never`: it does not, and no waiting will change that."""

    holds: bool
    reason: str
    never: bool = False


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a condition may look at, beside the file system.

    `fill` puts the entry's own values into a template; its relative paths start from `folder`. `progress` tells how
    far another entry is, None for one that is not part of this session. `run` returns how a command ended, None while
    it has not (it never blocks): `(argv, folder, timeout_s, every_s)`. `waiting_s` is how long the entry has waited to
    be submitted, `running_s` how long its attempt has run, None where it does not.
    """

    fill: Callable[[str], str]
    folder: Path
    progress: Callable[[str], Progress | None]
    run: Callable[[Sequence[str], Path, float, float], Completed | None]
    waiting_s: float
    running_s: float | None

    def path(self, template: str) -> Path:
        """Return a path of the entry's, from a template."""
        return self.folder / self.fill(template)


@register_interface
class Condition(RegistrableConfigInterface, abc.ABC):
    """One question. Implementations take `(config)`, keep no state, and answer quickly."""

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
