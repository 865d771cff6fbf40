"""Arguments as people write them in YAML, a list, a line or a mapping, made into argv."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from oellm_bench.placeholders import value_text

Arguments = dict[str, Any] | list[Any] | str


def to_argv(arguments: Arguments) -> tuple[str, ...]:
    """Return `arguments` as argv.

    A line is split as a shell splits words; list items are taken as they are; a mapping `{n: 1}` becomes
    `--n 1`, with `true` for a bare flag, `false` and `null` for none, and a list for several values.
    Raises ValueError for an unclosed quote and for values that are no scalars.
    """
    if isinstance(arguments, str):
        return tuple(shlex.split(arguments))
    if isinstance(arguments, Mapping):
        return tuple(part for name, value in arguments.items() for part in _flag(name, value))
    return tuple(_scalar(item) for item in arguments)


def _flag(name: str, value: object) -> Sequence[str]:
    flag = name if name.startswith("-") else f"--{name}"
    if value is None or value is False:
        return ()
    if value is True:
        return (flag,)
    if isinstance(value, list):
        return (flag, *(_scalar(item) for item in value))
    return (flag, _scalar(value))


def _scalar(value: object) -> str:
    if isinstance(value, list | dict):
        raise ValueError(f"{value!r} is not a single value")
    return value_text(value)
