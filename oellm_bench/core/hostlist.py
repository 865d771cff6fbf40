"""Node lists as SLURM writes them."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

_MOST = 100_000  # no cluster has more nodes
_HOSTS = re.compile(r"[^,\[]+(?:\[[^\]]*\][^,\[]*)*")
_BRACKETS = re.compile(r"\[([^\]]*)\]")


def node_names(text: str) -> Iterator[str]:
    """Yield the names in a node list as SLURM writes it: `a1,b[01-03,7]`; nothing for what is none."""
    if text.strip() in ("", "(null)", "None assigned", "None"):
        return
    names = (name for part in _HOSTS.findall(text) for name in _expanded(part.strip()))
    yield from itertools.islice(names, _MOST)


def _expanded(part: str) -> Iterator[str]:
    match = _BRACKETS.search(part)
    if match is None:
        yield part
        return
    for item in match[1].split(","):
        first, _, last = item.partition("-")
        if not first.isdecimal() or (last and not last.isdecimal()):
            continue
        for number in range(int(first), int(last or first) + 1):
            yield from _expanded(f"{part[: match.start()]}{number:0{len(first)}d}{part[match.end() :]}")
