"""The configuration described from its own schema, so that the description cannot fall behind."""

from __future__ import annotations

import dataclasses
import json
import typing
from collections.abc import Iterator
from typing import Any

import compoconf
from compoconf import LazyConfigUnion

from oellm_bench.builtins import load_all
from oellm_bench.config.schema import Project
from oellm_bench.config.typing import field_types, hint_text
from oellm_bench.errors import UsageError, nearest

Row = dict[str, str]


def list_options(group: str | None = None) -> list[Row]:
    """Return a row (key, type, default, unit, meaning) for every field, or for those of one section or class.

    Fields of a plug-in stand under its class: `backend[ScriptBackend].script`. Raises UsageError for a group
    that is none.
    """
    load_all()
    rows = list(_rows(Project, ""))
    if group is None:
        return rows
    chosen = [row for row in rows if row["key"].split(".")[0].split("[")[0] == group or f"[{group}]" in row["key"]]
    if not chosen:
        sections = [*field_types(Project)]
        raise UsageError(f"no section or class '{group}'; {nearest(group, sections)}")
    return chosen


def _rows(schema: Any, prefix: str, above: tuple[Any, ...] = ()) -> Iterator[Row]:
    """Yield the rows of a schema; `above` are the plug-in kinds it stands in, which may hold their own kind."""
    hints = field_types(schema)
    for field in dataclasses.fields(schema):
        if not field.init:
            continue
        key, hint = f"{prefix}{field.name}", hints[field.name]
        inner = _schema_within(hint)
        if not (dataclasses.is_dataclass(hint) or (isinstance(hint, LazyConfigUnion) and not prefix)):
            yield {
                "key": key,
                "type": hint_text(hint),
                "default": _default(field),
                "unit": field.metadata.get("unit", ""),
                "meaning": field.metadata.get("meaning", ""),
            }
        for name, (form, meaning) in field.metadata.get("known", {}).items():
            yield {"key": f"{key}.{name}", "type": form, "default": "null", "unit": "", "meaning": meaning}
        if isinstance(inner, LazyConfigUnion):
            if inner.registry_class not in above:
                yield from _plugin_rows(inner, key, field.metadata.get("meaning", ""), above, listed=bool(prefix))
        elif inner is not None:
            brackets = "" if inner is hint else "[]"
            yield from _rows(inner, f"{key}{brackets}.", above)


def _plugin_rows(
    hint: LazyConfigUnion, key: str, meaning: str, above: tuple[Any, ...], *, listed: bool
) -> Iterator[Row]:
    names = compoconf.registered(hint.registry_class)
    if not listed:
        choices = " | ".join(names)
        yield {"key": f"{key}.class_name", "type": choices, "default": "required", "unit": "", "meaning": meaning}
    for name in names:
        implementation = compoconf.Registry.get_class(hint.registry_class, name)
        config = typing.get_type_hints(implementation)["config"]
        yield from _rows(config, f"{key}[{name}].", (*above, hint.registry_class))


def _schema_within(hint: Any) -> Any:
    """Return the schema or plug-in kind that a field holds, itself or in a collection."""
    if isinstance(hint, LazyConfigUnion) or dataclasses.is_dataclass(hint):
        return hint
    for inner in typing.get_args(hint):
        if isinstance(inner, LazyConfigUnion) or dataclasses.is_dataclass(inner):
            return inner
    return None


def _default(field: Any) -> str:
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return "required"
    return json.dumps(list(value) if isinstance(value, tuple) else value)
