"""Words and numbers for Slack: what a job wrote can neither ping anybody nor format anything of ours."""

from __future__ import annotations

import itertools
import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from oellm_bench.core.expectation import is_as_expected
from oellm_bench.core.result import flat_stages
from oellm_bench.units import format_duration

MISSING = "-"
_LONGEST_VALUE = 200  # characters of a metric
_LONGEST_ADDRESS = 1500
_ESCAPES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_IN_ADDRESS = ":/?#[]@!$&'()*+,;=%~-._"  # RFC 3986, without what ends a link in mrkdwn
_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_USER = re.compile(r"[UW][A-Z0-9]{1,30}")
_GROUP = re.compile(r"S[A-Z0-9]{1,30}")


def plain(text: object, longest: int) -> str:
    """Return text for a field that Slack shows as it is: printable, not empty, and told where it was cut."""
    shown = "".join(_printable(character) for character in str(text)).strip() or MISSING
    if len(shown) <= longest:
        return shown
    note = _cut_note(shown)
    return shown[: longest - len(note)] + note


def escaped(text: object, longest: int) -> str:
    """Return text for mrkdwn, in which `&`, `<` and `>` are control characters; at most `longest` when escaped.

    Source: docs.slack.dev/messaging/formatting-message-text, "Escaping text".
    """
    shown = plain(text, sys.maxsize)
    pieces = [_ESCAPES.get(character, character) for character in shown[:longest]]
    if len(shown) <= longest and sum(map(len, pieces)) <= longest:
        return "".join(pieces)
    note = _cut_note(shown)
    ends = itertools.accumulate(map(len, pieces))
    return "".join(pieces[: sum(end <= longest - len(note) for end in ends)]) + note


def link(address: str, label: str) -> str:
    """Return an address as mrkdwn: a link where it is one, else as text."""
    safe = quote(address, safe=_IN_ADDRESS)
    if re.match(r"https?://[^\s]", address) and len(safe) <= _LONGEST_ADDRESS:
        return f"<{safe}|{label}>"
    return f"{label}: {escaped(address, 500)}"


def mention(person: str) -> str:
    """Return the mention of a user or a group by its id; anything else stays text."""
    if _USER.fullmatch(person):
        return f"<@{person}>"
    return f"<!subteam^{person}>" if _GROUP.fullmatch(person) else escaped(person, 50)


def went_well(result: Mapping[str, Any]) -> bool:
    """Tell whether an entry did what was expected of it, be that a failure."""
    return is_as_expected(str(result.get("expected_failure") or ""), str(result["error_mode"]))


def measured(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return everything measured of an entry by the name that requirements use."""
    times = {"exec_time_s": result.get("exec_time_s")}
    return {**_mapping(result.get("resources")), **flat_stages(result.get("stages")), **times, **metrics_of(result)}


def metrics_of(result: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the script's own metrics; none where they are of another shape."""
    return _mapping(result.get("metrics"))


def texts(value: object) -> Sequence[str]:
    """Return the texts of a list; a text alone is one, anything else none."""
    if isinstance(value, str):
        return (value,) if value else ()
    return tuple(map(str, value)) if isinstance(value, list | tuple) else ()


def metric_text(name: str, value: object) -> str:
    """Return a value for people: `_s` with its duration, `_bytes` in units of 1024, `-` where there is none."""
    if value is None:
        return MISSING
    if isinstance(value, bool) or not isinstance(value, int | float):
        shown = value if isinstance(value, str) else json.dumps(value, default=str)
        return plain(shown, _LONGEST_VALUE)
    try:
        return _number_text(name, value)
    except (OverflowError, ValueError):  # an integer beyond every float, or too long to be written down
        return "a number of very many digits"


def _number_text(name: str, value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    if name.endswith("_s") and not name.endswith("_per_s"):
        return f"{value:,.2f} s" if abs(value) < 60 else f"{value:,.2f} s ({_spoken(value)})"
    if name.endswith("_bytes"):
        return _bytes_text(value)
    return f"{value:,}" if isinstance(value, int) else f"{value:,.6g}"


def _spoken(seconds: float) -> str:
    if abs(seconds) >= 86400:
        return format_duration(seconds)
    minutes, rest = divmod(round(abs(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{'-' * (seconds < 0)}{f'{hours}h ' * bool(hours)}{minutes}m {rest}s"


def _bytes_text(value: float) -> str:
    power = 0
    while abs(value) >= 1024 and power < len(_BYTE_UNITS) - 1:
        value, power = value / 1024, power + 1
    return f"{value:,.2f} {_BYTE_UNITS[power]}" if power else f"{value:,.0f} B"


def _cut_note(shown: str) -> str:
    return f" ... ({len(shown)} characters)"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _printable(character: str) -> str:
    """Return the character, or what stands for one that moves, hides or breaks others."""
    if character.isprintable() or character == "\n":
        return character
    return " " if character.isspace() else "\N{REPLACEMENT CHARACTER}"
