"""Binds as people write them, `SRC[:DST[:ro]]`, read once and spelled for each runtime."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from oellm_bench.errors import Problem
from oellm_bench.launchers.base import Place


@dataclass(frozen=True, kw_only=True)
class Bind:
    """A path of the node and where it is inside."""

    source: str
    target: str
    read_only: bool = False


def read_bind(text: str) -> Bind:
    """Return the bind that `SRC[:DST[:ro|rw]]` stands for. Raises ValueError."""
    source, _, rest = text.partition(":")
    target, _, mode = rest.partition(":")
    if not source.startswith("/") or (target and not target.startswith("/")) or mode not in ("", "ro", "rw"):
        raise ValueError(f"'{text}' is no bind")
    return Bind(source=source, target=target or source, read_only=mode == "ro")


def bind_problems(binds: Sequence[str]) -> Iterator[Problem]:
    """Yield what is wrong with a list of binds."""
    for number, text in enumerate(binds):
        try:
            read_bind(text)
        except ValueError as err:
            fix = "write absolute paths, SRC, SRC:DST or SRC:DST:ro"
            yield Problem(what=str(err), where=f"binds.{number}", fix=fix)


def all_binds(place: Place, binds: Sequence[str]) -> list[Bind]:
    """Return what a command needs and what the user asks for, outer folders first."""
    own = [
        *(Bind(source=path, target=path, read_only=True) for path in place.readable),
        *(Bind(source=path, target=path) for path in dict.fromkeys((place.cwd, *place.writable)) if path),
    ]
    given = [read_bind(text) for text in binds]
    taken = {bind.target for bind in given}
    return [*(bind for bind in own if bind.target not in taken), *given]


def mount_text(bind: Bind) -> str:
    """Return `type=bind,src=...,dst=...[,ro]` as Apptainer and Docker read it: a line of CSV.

    Source: --mount in apptainer-exec(1) and docker-run(1).
    """
    fields = ["type=bind", f"src={bind.source}", f"dst={bind.target}", *(["ro"] if bind.read_only else [])]
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(fields)
    return line.getvalue()
