"""Values of plain data by dotted keys, set without a change to data that other points share."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any


def set_value(root: dict[str, Any], path: Sequence[str], value: Any, copied: set[int]) -> None:
    """Set a dotted key, copying each container on the way once, so that points never share a change."""
    node: Any = root
    for part in path[:-1]:
        step: Any = int(part) if isinstance(node, list) else part
        inner = node[step] if isinstance(node, list) else node.get(step)
        if not isinstance(inner, dict | list):
            inner = {}
        if id(inner) not in copied:
            inner = inner.copy()
            copied.add(id(inner))
        node[step] = inner
        node = inner
    node[int(path[-1]) if isinstance(node, list) else path[-1]] = value


def value_at(data: Any, key: str) -> Any:
    """Return the value of a dotted key. Raises LookupError where there is none."""
    for part in key.split("."):
        try:
            data = data[int(part)] if isinstance(data, list) else data[part]
        except (LookupError, TypeError, ValueError) as err:
            raise LookupError(key) from err
    return data


def keys_called(name: str, keys: Collection[str]) -> list[str]:
    """Return the keys that a name means: the very one, else all whose last part it is."""
    return [name] if name in keys else [key for key in keys if key.rsplit(".", 1)[-1] == name]


def within(key: str, keys: Collection[str]) -> bool:
    """Tell whether a dotted key is one of `keys`, or below one."""
    return any(key == other or key.startswith(f"{other}.") for other in keys)
