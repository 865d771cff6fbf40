"""Find the cause of a crash in what it wrote: the root first, not what followed from it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from oellm_bench.core.result import ErrorMode
from oellm_bench.errors import Problem, nearest
from oellm_bench.monitoring.settings import LogSignature

WINDOW_BYTES = 256 << 10  # of each log, from its end
_LONGEST_LINE = 300
_SEARCHED_BYTES = 4096  # of each line: the time of many patterns grows with its square
_LONG_LINE = re.compile(rb"([^\r\n]{%d})[^\r\n]+" % _SEARCHED_BYTES)


@dataclass(frozen=True, kw_only=True)
class Cause:
    """A signature that was found, and the line it was found in."""

    name: str
    mode: ErrorMode
    line: str
    subsystem: str = ""
    advice: str = ""


class Signatures:
    """The registry, compiled once."""

    def __init__(self, signatures: Mapping[str, LogSignature]) -> None:
        self._known = [
            (name, signature, re.compile(signature.pattern.encode(), re.MULTILINE))
            for name, signature in signatures.items()
            if signature.pattern
        ]

    def cause(self, logs: Sequence[str]) -> Cause | None:
        """Return the cause told by the ends of an attempt's logs, None where no signature is in them.

        A root comes before a cascade, an earlier log before a later one, an earlier line before a later one: what
        fails first brings the rest down with it. Of two in one line the one that stands first in the registry counts.
        """
        searched = (_LONG_LINE.sub(rb"\1", log.encode()) for log in logs)
        found = (hit for place, log in enumerate(searched) for hit in self._hits(place, log))
        best = min(found, key=lambda hit: hit[0], default=None)
        return None if best is None else best[1]

    def _hits(self, place: int, log: bytes) -> Iterator[tuple[tuple[bool, int, int, int], Cause]]:
        for rank, (name, signature, pattern) in enumerate(self._known):
            match = pattern.search(log)
            if match is not None:
                cause = Cause(
                    name=name,
                    mode=ErrorMode(signature.mode),
                    line=_line(log, match.start()),
                    subsystem=signature.subsystem,
                    advice=signature.advice,
                )
                yield (signature.cascade, place, log.rfind(b"\n", 0, match.start()), rank), cause


def signature_problems(signatures: Mapping[str, LogSignature]) -> Iterator[Problem]:
    """Yield what is wrong with the registry; `where` of a problem is its dotted key."""
    modes = [mode.value for mode in ErrorMode]
    for name, signature in signatures.items():
        key = f"monitoring.signatures.{name}"
        if signature.mode not in modes:
            what = f"'{signature.mode}' is no error mode"
            yield Problem(what=what, where=f"{key}.mode", fix=nearest(signature.mode, modes))
        try:
            re.compile(signature.pattern.encode())
        except re.error as err:
            yield Problem(what=f"'{signature.pattern}' is no regular expression ({err})", where=f"{key}.pattern")


def _line(log: bytes, position: int) -> str:
    start, end = log.rfind(b"\n", 0, position) + 1, log.find(b"\n", position)
    return log[start : end if end >= 0 else len(log)].decode("utf-8", "replace").strip()[:_LONGEST_LINE]
