"""A result as tracking services take it: figures and texts under one name each, of a run that has a key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from oellm_bench.core.metric import finite_number

_MOST_VALUES = 5000
_LONGEST_LIST = 20  # longer ones are data, which belongs into files
_LONGEST_TEXT = 4000


@dataclass(frozen=True, kw_only=True)
class Flat:
    """Figures are finite; everything else that a script wrote is text. `left_out`: how many values were too many."""

    figures: Mapping[str, float]
    texts: Mapping[str, str]
    left_out: int = 0


def run_key(*parts: str) -> str:
    """Return what a run is found by: 32 hexadecimal digits, whatever the parts are made of."""
    return hashlib.sha256("\0".join(parts).encode(errors="backslashreplace")).hexdigest()[:32]


def flat(result: Mapping[str, Any]) -> Flat:
    """Return the figures of a result: its metrics, run time, resources and stages, and what of it is no number."""
    figures: dict[str, float] = {}
    texts: dict[str, str] = {}
    left_out = 0
    for name, value in _values(result):
        if len(figures) + len(texts) >= _MOST_VALUES:
            left_out += 1
        elif (figure := finite_number(int(value) if isinstance(value, bool) else value)) is not None:
            figures[name] = figure
        elif value not in (None, ""):
            texts[name] = str(value)[:_LONGEST_TEXT]
    return Flat(figures=figures, texts=texts, left_out=left_out)


def flat_texts(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return a mapping's values as texts under one name each."""
    pairs = list(_leaves(mapping, prefix))[:_MOST_VALUES]
    return {name: "" if value is None else str(value)[:_LONGEST_TEXT] for name, value in pairs}


def _values(result: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    yield "exec_time_s", result.get("exec_time_s")
    yield from _leaves(result.get("metrics") or {}, "")
    yield from _leaves(result.get("resources") or {}, "resources.")
    yield from _leaves(result.get("stages") or {}, "stages.")


def _leaves(value: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    for key, item in items:
        name = f"{prefix}{key}"
        if isinstance(item, Mapping) or (isinstance(item, list) and len(item) <= _LONGEST_LIST):
            yield from _leaves(item, f"{name}.")
        else:
            yield name, item if not isinstance(item, list) else f"{len(item)} values"
