"""`{name}` templates: every placeholder is looked up, a literal brace is doubled, nothing is evaluated."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

SIBLING = "sibling:"
# What an entry has of its own in a session, by the names that entries of other stages call it:
# `{sibling:stable.output_dir}`.
SIBLING_FIELDS = frozenset(
    ("output_dir", "session_entry_dir", "session", "benchmark_results_path", "scratch", "name", "entry_name")
)
_TOKEN = re.compile(r"\{\{|\}\}|\{(?P<name>[^{}]*)\}|[{}]")
_LITERAL_MAGIC = re.compile(rf"(?P<magic>[*?[])|{_TOKEN.pattern}")


class UnknownPlaceholder(ValueError):
    """A template names something that has no value."""

    def __init__(self, name: str, template: str) -> None:
        self.name = name
        super().__init__(f"'{{{name}}}' in '{template}' is not known")


def expand(template: str, lookup: Callable[[str], str | None]) -> str:
    """Replace each `{name}` by `lookup(name)`; `{{` and `}}` become single braces.

    Raises UnknownPlaceholder where `lookup` returns None, ValueError for a single unmatched brace.
    """

    def replace(match: re.Match[str]) -> str:
        text = match.group()
        if text in ("{{", "}}"):
            return text[0]
        name = match["name"]
        if name is None:
            raise ValueError(f"single '{text}' in '{template}'; write '{text * 2}' for a literal brace")
        value = lookup(name.strip())
        if value is None:
            raise UnknownPlaceholder(name.strip(), template)
        return value

    return _TOKEN.sub(replace, template)


def with_placeholders(template: str, change: Callable[[str], str]) -> str:
    """Return a template with each `{name}` replaced by `change(name)`; literal braces stay as they are written."""

    def replace(match: re.Match[str]) -> str:
        return match.group() if match["name"] is None else change(match["name"].strip())

    return _TOKEN.sub(replace, template)


def expand_pattern(template: str, lookup: Callable[[str], str | None], folder: Path) -> str:
    """Return a pattern for paths, starting from `folder`: only what the template itself says is one, not its values.

    Raises as `expand` does.
    """

    def escaped(name: str) -> str | None:
        value = lookup(name)
        return None if value is None else glob.escape(value)

    return str(Path(glob.escape(str(folder))) / expand(template, escaped))


def as_pattern(path: str) -> str:
    """Return a template of a path as one of a pattern that fits this path only; placeholders stay what they are."""
    return _LITERAL_MAGIC.sub(lambda match: f"[{match['magic']}]" if match["magic"] else match.group(), path)


def printable(text: str, limit: int = 1000) -> str:
    """Return a text fit for a terminal: what would move its cursor or colour it is shown as an escape."""
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text[:limit])
    return shown if len(text) <= limit else f"{shown}..."


def names_in(template: str) -> tuple[str, ...]:
    """Return the names of the placeholders in `template`, in order."""
    found = (match["name"] for match in _TOKEN.finditer(template))
    return tuple(name.strip() for name in found if name is not None)


def literal_parts(template: str) -> str:
    """Return what is left of `template` when its placeholders are taken out."""
    return _TOKEN.sub(lambda match: match.group()[0] if match["name"] is None else "", template)


def without(template: str, name: str) -> str:
    """Return a template of a name without a placeholder, and without the letters and marks that lead up to it."""
    return re.sub(rf"[._=+@,-]*[A-Za-z]*\{{\s*{re.escape(name)}\s*\}}", "", template).strip("._=+@,-")


def by_key_or_suffix(values: Mapping[str, str], keys: Sequence[str]) -> Callable[[str], str | None]:
    """Return a lookup by full dotted key, or by its last part where only one key ends so."""
    short: dict[str, list[str]] = {}
    for key in keys:
        short.setdefault(key.rsplit(".", 1)[-1], []).append(key)

    def lookup(name: str) -> str | None:
        if name in values:
            return values[name]
        candidates = short.get(name, [])
        return values[candidates[0]] if len(candidates) == 1 else None

    return lookup


def value_text(value: object) -> str:
    """Return a parameter as it stands in a command: YAML's spelling of true, false and null."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
