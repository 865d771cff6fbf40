"""Plain configuration data into typed values; on failure, every problem instead of the first."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

import compoconf
from compoconf import LazyConfigUnion

from oellm_bench.errors import ConfigError, Problem, nearest

T = typing.TypeVar("T")

# What YAML and JSON have, and how it is written.
_COLLECTIONS: dict[Any, tuple[Any, str]] = {
    dict: (Mapping, "give a mapping, NAME: VALUE"),
    list: (list | tuple, "give a list, [VALUE, ...]"),
    tuple: (list | tuple, "give a list, [VALUE, ...]"),
}


@dataclasses.dataclass(frozen=True)
class Fault:
    """A problem at a key of the data; `key` is dotted, from the root of the configuration."""

    key: str
    what: str
    fix: str = ""


class FaultyConfig(ConfigError):
    """Data that does not fit the schema; `faults` know their keys but not yet their files."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        self.faults = faults
        super().__init__(Problem(what=fault.what, where=fault.key, fix=fault.fix) for fault in faults)


def parse(schema: type[T], data: Any, key: str = "") -> T:
    """Return `data` as `schema`. Raises FaultyConfig with every fault found.

    Types are strict: 3.5 is no int, "3" is no number, and a plug-in must say its class_name. Only a mapping or a
    list may be null, as YAML has it where all items are commented out: it is as if it were not there.
    """
    data = _spelled_out(schema, data)
    said = ""
    if not tuple(_unnamed_plugins(schema, data, key)):
        try:
            return typing.cast(T, _parsed(schema, data, key))
        except (ValueError, KeyError, TypeError) as err:
            said = str(err)  # compoconf stops at the first fault and words it for programmers: look for all of them
    faults = tuple(_faults(schema, data, key))
    raise FaultyConfig(faults or (Fault(key, f"cannot be read ({said})"),))


def _parsed(schema: Any, data: Any, key: str) -> Any:
    """Have compoconf read the data; it takes any class_name for its own marker, so a plain field of that name is ours.

    Raises ValueError, KeyError or TypeError.
    """
    read = functools.partial(compoconf.parse_config, strict_types=True, key_history=key)
    named = dataclasses.is_dataclass(schema) and isinstance(data, Mapping) and "class_name" in data
    hint = field_types(typing.cast(type, schema)).get("class_name") if named else None
    if hint is None:
        return read(schema, data)
    parsed: Any = read(schema, {name: value for name, value in data.items() if name != "class_name"})
    return dataclasses.replace(parsed, class_name=read(hint, data["class_name"]))


def _spelled_out(hint: Any, data: Any) -> Any:
    """Return the data without nulls that stand for an empty collection, and with shorthands as what they stand for."""
    if isinstance(hint, LazyConfigUnion):
        shorthand = getattr(hint.registry_class, "shorthand", None)
        if shorthand is not None and isinstance(data, str | list):
            data = shorthand(data)
        name = str(data.get("class_name")) if isinstance(data, Mapping) else ""
        if name not in compoconf.registered(hint.registry_class):
            return data
        implementation = compoconf.Registry.get_class(hint.registry_class, name)
        hint = typing.get_type_hints(implementation)["config"]
        data = _caught(hint, data)
    if dataclasses.is_dataclass(hint):
        if not isinstance(data, Mapping):
            return data
        hints = _hints(typing.cast(type, hint))
        return {
            name: _spelled_out(hints[name], value) if name in hints else value
            for name, value in data.items()
            if not (value is None and name in hints and _is_collection(hints[name]))
        }
    item = _item_type(hint, data)
    if item is None:
        return data
    if isinstance(data, Mapping):
        return {name: _spelled_out(item, value) for name, value in data.items()}
    return [_spelled_out(item, value) for value in data]


def _caught(schema: Any, data: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the data with keys that are none of the schema's below the one that takes all others, where it has one."""
    catch_all = getattr(schema, "catch_all", "")
    own = {field.name for field in dataclasses.fields(schema) if field.init} | {"class_name"}
    others = {name: value for name, value in data.items() if name not in own}
    if not catch_all or not others:
        return data
    caught = {**(data.get(catch_all) or {}), **others}
    return {**{name: value for name, value in data.items() if name in own}, catch_all: caught}


def _is_collection(hint: Any) -> bool:
    union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    kinds = typing.get_args(hint) if union else (hint,)
    return type(None) not in kinds and any(typing.get_origin(kind) in (dict, list, tuple) for kind in kinds)


def _faults(hint: Any, data: Any, key: str) -> Iterator[Fault]:
    """Walk schema and data side by side and yield what does not fit."""
    if isinstance(hint, LazyConfigUnion):
        yield from _plugin_faults(hint, data, key)
    elif dataclasses.is_dataclass(hint):
        yield from _dataclass_faults(hint, data, key)
    elif _wants_a_list(hint, data):
        fix = "put it in a list: [{...}]; as one value of an axis of a sweep in two: [[{...}]]"
        yield Fault(key, "a mapping stands where a list has to", fix)
    else:
        item = _item_type(hint, data)
        if item is None:
            yield from _leaf_faults(hint, data, key)
        else:
            pairs = data.items() if isinstance(data, Mapping) else enumerate(data)
            for name, value in pairs:
                yield from _faults(item, value, f"{key}.{name}")


def _plugin_faults(hint: LazyConfigUnion, data: Any, key: str) -> Iterator[Fault]:
    names = compoconf.registered(hint.registry_class)
    if not isinstance(data, Mapping):
        yield Fault(key, f"'{data}' is not a mapping", f"give class_name: one of {', '.join(names)}")
        return
    name = data.get("class_name")
    if not name:
        yield Fault(key, "class_name is missing", f"give one of {', '.join(names)}")
    elif name not in names:
        yield Fault(f"{key}.class_name", f"unknown class_name '{name}'", nearest(str(name), names))
    else:
        implementation = compoconf.Registry.get_class(hint.registry_class, name)
        config = typing.get_type_hints(implementation)["config"]
        yield from _dataclass_faults(config, {k: v for k, v in data.items() if k != "class_name"}, key)


def _dataclass_faults(schema: Any, data: Any, key: str) -> Iterator[Fault]:
    if not isinstance(data, Mapping):
        yield Fault(key, f"{data!r} is not a mapping")
        return
    hints = _hints(schema)
    fields = {field.name: field for field in dataclasses.fields(schema) if field.init}
    for name in data:
        if name not in fields:
            value = _shown(data[name])
            yield Fault(_join(key, str(name)), f"unknown key '{name}' (value {value})", nearest(str(name), [*fields]))
    for name, field in fields.items():
        if name in data:
            yield from _faults(hints[name], data[name], _join(key, name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            yield Fault(_join(key, name), f"'{name}' is missing", f"give {field.metadata.get('meaning', 'a value')}")


def _leaf_faults(hint: Any, data: Any, key: str) -> Iterator[Fault]:
    if data == "???":
        yield Fault(key, "a value is missing (???)", f"give {hint_text(hint)}")
        return
    odd = [name for name in data if not isinstance(name, str)] if isinstance(data, Mapping) else []
    if odd:
        for name in odd:
            yield Fault(_join(key, str(name)), f"YAML reads the key {name!r} as no text", "put it in quotes")
        return
    try:
        compoconf.parse_config(hint, data, strict_types=True, key_history=key)
    except (ValueError, KeyError, TypeError):
        yield _unfit(hint, data, key)


def _unfit(hint: Any, data: Any, key: str) -> Fault:
    """Return that a value is of another type, and what to write instead."""
    origin = typing.get_origin(hint)
    if origin in _COLLECTIONS:
        kind, fix = _COLLECTIONS[origin]
        return Fault(key, f"{_shown(data)} is no {hint_text(hint)}", "" if isinstance(data, kind) else fix)
    choices = typing.get_args(hint) if origin is typing.Literal else ()
    fix = nearest(str(data), choices) if all(isinstance(choice, str) for choice in choices) else ""
    return Fault(key, f"{_shown(data)} is not {hint_text(hint)}", fix if fix.startswith("did") else "")


def _unnamed_plugins(hint: Any, data: Any, key: str) -> Iterator[str]:
    """Yield the keys of plug-ins that compoconf would take as it pleases: without class_name, or not in their list."""
    if isinstance(hint, LazyConfigUnion):
        if not (isinstance(data, Mapping) and data.get("class_name")):
            yield key
    elif dataclasses.is_dataclass(hint):
        if isinstance(data, Mapping):
            for name, inner in _plugin_fields(typing.cast(type, hint)):
                if name in data:
                    yield from _unnamed_plugins(inner, data[name], _join(key, name))
    elif _wants_a_list(hint, data):
        yield key
    else:
        item = _item_type(hint, data)
        if item is not None:
            for value in data.values() if isinstance(data, Mapping) else data:
                yield from _unnamed_plugins(item, value, key)


@functools.cache
def _plugin_fields(schema: type) -> tuple[tuple[str, Any], ...]:
    return tuple((name, hint) for name, hint in _hints(schema).items() if _holds_plugins(hint))


def _holds_plugins(hint: Any) -> bool:
    if isinstance(hint, LazyConfigUnion):
        return True
    if dataclasses.is_dataclass(hint):
        return any(_holds_plugins(inner) for inner in _hints(typing.cast(type, hint)).values())
    return any(_holds_plugins(inner) for inner in typing.get_args(hint))


@functools.cache
def _hints(schema: type) -> dict[str, Any]:
    return typing.get_type_hints(schema)


def _item_type(hint: Any, data: Any) -> Any:
    """Return the type of the items where they are schemas of ours and the data is such a collection."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (tuple, list) and isinstance(data, list | tuple):
        item = arguments[0]
    elif origin is dict and isinstance(data, Mapping):
        item = arguments[1]
    else:
        return None
    ours = isinstance(item, LazyConfigUnion) or dataclasses.is_dataclass(item)
    return item if ours else None


def _wants_a_list(hint: Any, data: Any) -> bool:
    """Tell whether a mapping stands where schemas of ours are to be listed."""
    arguments = typing.get_args(hint)
    listed = typing.get_origin(hint) in (tuple, list) and bool(arguments)
    ours = listed and (isinstance(arguments[0], LazyConfigUnion) or dataclasses.is_dataclass(arguments[0]))
    return ours and isinstance(data, Mapping)


def hint_text(hint: Any) -> str:
    """Return a type as people read it: `int`, `list of text`, `restart | stop`."""
    if isinstance(hint, LazyConfigUnion):
        return " | ".join(compoconf.registered(hint.registry_class))
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Literal:
        return " | ".join(str(value) for value in arguments)
    if origin in (types.UnionType, typing.Union):
        return " | ".join(hint_text(inner) for inner in arguments)
    if origin in (list, tuple):
        return "list" if arguments[0] is Any else f"list of {hint_text(arguments[0])}"
    if origin is dict:
        return "mapping" if arguments[1] is Any else f"mapping of {hint_text(arguments[1])}"
    names = {str: "text", float: "number", bool: "true/false", type(None): "null", Any: "any value"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))


def field_types(schema: type) -> dict[str, Any]:
    """Return the resolved type of every field of a dataclass that a user may set."""
    return {field.name: _hints(schema)[field.name] for field in dataclasses.fields(schema) if field.init}


def _join(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
