"""A mapping as TOML, with its placeholders left for the planner to fill in."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from oellm_bench.placeholders import value_text

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")


def toml_text(document: Mapping[str, Any]) -> str:
    """Return a document of TOML 1.0 as a template: braces of its syntax are doubled, those in strings stay.

    What is null is left out: TOML has no such value.
    """
    return "\n".join(_table(document, ())).lstrip("\n") + "\n"


def twice_named(document: object, path: tuple[str, ...] = ()) -> Iterator[str]:
    """Yield the keys that YAML tells apart and TOML does not, dotted: 1 and "1"."""
    if isinstance(document, Mapping):
        texts = Counter(value_text(key) for key in document)
        yield from (".".join((*path, text)) for text, count in texts.items() if count > 1)
        for key, value in document.items():
            yield from twice_named(value, (*path, value_text(key)))
    elif isinstance(document, list):
        for number, item in enumerate(document):
            yield from twice_named(item, (*path, str(number)))


def in_string(text: str) -> str:
    """Return a text as it stands between the quotes of a string, in TOML and in JSON alike."""
    return json.dumps(text, ensure_ascii=False)[1:-1].replace("\x7f", "\\u007f")  # JSON may hold it, TOML may not


def _table(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    """Yield the lines of a table, then those of the tables in it."""
    inner = {key: value for key, value in table.items() if isinstance(value, Mapping)}
    own = {key: value for key, value in table.items() if key not in inner and value is not None}
    if path and (own or not inner):
        yield f"\n[{'.'.join(map(_key, path))}]"
    for key, value in own.items():
        yield f"{_key(key)} = {_value(value)}"
    for key, value in inner.items():
        yield from _table(value, (*path, key))


def _value(value: object) -> str:
    if isinstance(value, Mapping):
        items = (f"{_key(key)} = {_value(item)}" for key, item in value.items() if item is not None)
        return f"{{{{{', '.join(items)}}}}}"
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in value if item is not None)}]"
    return f'"{in_string(value)}"' if isinstance(value, str) else value_text(value)


def _key(key: object) -> str:
    text = value_text(key)
    return text if _BARE_KEY.fullmatch(text) else f'"{in_string(text)}"'
