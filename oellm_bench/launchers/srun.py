"""The step of a job that a command is started as: srun with what the configuration gives it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oellm_bench.placeholders import value_text
from oellm_bench.rendering.directives import is_given, long_name


def srun_argv(options: Mapping[str, Any]) -> tuple[str, ...]:
    """Return `srun --name=value ...`, nothing where no option is given."""
    if not options:
        return ()
    given = ((long_name(name), value) for name, value in options.items() if is_given(value))
    return ("srun", *(f"--{name}" if value is True else f"--{name}={value_text(value)}" for name, value in given))
