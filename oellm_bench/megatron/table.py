"""The arguments of Megatron-LM's own parser, as data: which there are, how they are spelled, what they take."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oellm_bench.errors import StateError

PACKAGED = Path(__file__).with_name("arguments.json")


@dataclass(frozen=True, kw_only=True)
class Argument:
    """One argument of a parser, as `argparse` was told of it.

    `action`: `store`, `store_true`, `store_false`, `boolean_optional`, `store_const`, `append`, ... `type`: the name of
    what makes the value of a text, empty: it stays text. `choices`, `const` and `default`: as JSON has them, text for
    what JSON has not.
    """

    dest: str
    flags: tuple[str, ...]
    action: str = "store"
    type: str = ""
    choices: tuple[Any, ...] = ()
    nargs: int | str | None = None
    const: Any = None
    default: Any = None


@dataclass(frozen=True, kw_only=True, eq=False)
class Table:
    """All arguments of one version of Megatron-LM; `source` says of which.

    `by_dest`: those that set each value: one, or several (`--x`, `--no-x`).
    """

    source: str
    arguments: tuple[Argument, ...]
    by_dest: dict[str, tuple[Argument, ...]] = field(init=False, repr=False, default_factory=dict)
    _by_flag: dict[str, Argument] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        for argument in self.arguments:
            self.by_dest[argument.dest] = (*self.by_dest.get(argument.dest, ()), argument)
            for flag in argument.flags:
                self._by_flag.setdefault(normalised(flag), argument)

    def find(self, name: str) -> Argument | None:
        """Return the argument of a dest or a flag, `-` and `_` alike; None for no such one.

        A name with leading dashes is a flag; without, it is a dest where it can be: `ckpt_fully_parallel_save` is what
        `--no-ckpt-fully-parallel-save` sets, `--ckpt-fully-parallel-save` another, older argument.
        """
        key = normalised(name)
        if not name.startswith("-") and key in self.by_dest:
            return self.by_dest[key][0]
        return self._by_flag.get(key)

    @property
    def names(self) -> tuple[str, ...]:
        """Every name that `find` knows, as it is written in YAML."""
        return tuple({**self.by_dest, **self._by_flag})


def normalised(name: str) -> str:
    """Return a dest or a flag as it is written in YAML: `--lr-decay-iters` is `lr_decay_iters`."""
    return name.removeprefix("megatron.").lstrip("-").replace("-", "_")


def table_of(document: Any, where: str) -> Table:
    """Return the table of a JSON document `{source, arguments: [...]}`; `where` it stands is told in errors.

    Raises StateError where it is none.
    """
    try:
        arguments = tuple(_argument(item) for item in document["arguments"])
        return Table(source=str(document["source"]), arguments=arguments)
    except (KeyError, TypeError, AttributeError) as err:
        raise StateError(f"{where} is no table of arguments ({err!r}); make it anew") from err


def read_table(path: Path) -> Table:
    """Return the table in a file. Raises StateError where it cannot be read or is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as err:
        raise StateError(f"'{path}' cannot be read ({err})") from err
    return table_of(document, f"'{path}'")


@functools.cache
def packaged_table() -> Table:
    """Return the table that comes with this package; read once, when it is asked for."""
    return read_table(PACKAGED)


def _argument(item: Mapping[str, Any]) -> Argument:
    return Argument(
        dest=str(item["dest"]),
        flags=tuple(map(str, item["flags"])),
        action=str(item.get("action", "store")),
        type=str(item.get("type") or ""),
        choices=tuple(item.get("choices") or ()),
        nargs=item.get("nargs"),
        const=item.get("const"),
        default=item.get("default"),
    )
