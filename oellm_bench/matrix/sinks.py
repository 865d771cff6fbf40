"""The sinks of a matrix as sinks of a configuration; secrets go by the name of their variable."""

from __future__ import annotations

import re
import typing
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import fields
from typing import Any

import compoconf

from oellm_bench.matrix.document import Node
from oellm_bench.matrix.environment import resolved, variable_of
from oellm_bench.shell import OF_SINKS
from oellm_bench.sinks.base import Sink

# What older tools call a sink, where that is not how its class is called.
_OTHER_NAMES = {"gdrive": "googledrive"}
_OF_THE_MATRIX = ("name", "enabled")


def export_secrets(sinks: Node, environment: MutableMapping[str, str], warn: Callable[[str], None]) -> Node:
    """Return the list of sinks with what may be a secret as the name of a variable: `webhook_url` as `webhook_url_env`.

    A secret that is no variable's value goes into the environment of this process, so that it is written down
    nowhere else; `warn` is told where it stands in the file. Raises ConfigError for a variable that is not set.
    """
    filled = resolved(sinks, environment, "sinks").items()
    pairs = zip(sinks.items(), filled, strict=True)
    return Node([_referring(sink, own, environment, warn) for sink, own in pairs], sinks.where)


def _referring(sink: Node, filled: Node, environment: MutableMapping[str, str], warn: Callable[[str], None]) -> Node:
    named = sink.get("name")
    if not isinstance(sink.value, dict) or named is None:
        return sink
    known = _fields_of(class_of(sink))
    values: dict[str, Node] = {}
    for key, node in sink.value.items():
        by_name, variable = f"{key}_env", variable_of(node.value)
        if by_name not in known or not isinstance(node.value, str) or (key in known and variable is None):
            values[key] = node
            continue
        if variable is None:
            variable = re.sub(r"\W", "_", f"{OF_SINKS}{named.value}_{key}").upper()
            environment[variable] = filled.value[key].value
            if environment[variable] == node.value:
                warn(
                    f"{node.where}: {key} stands in the file in clear; keep it in a variable and write ${{NAME}} there"
                )
        values[by_name] = Node(variable, node.where)
    return Node(values, sink.where)


def class_of(sink: Node) -> str:
    """Return the class that a sink of a matrix means: its `class_name`, else the one its `name` is short for."""
    given = sink.get("class_name")
    if given is not None:
        return str(given.value)
    named = sink.get("name")
    name = str(named.value) if named is not None else ""
    plain = _plain(name)
    plain = _OTHER_NAMES.get(plain, plain)
    return next((known for known in compoconf.registered(Sink) if _plain(known) == plain), name)


def configurations(sinks: Node) -> dict[str, tuple[Mapping[str, Any], Node]]:
    """Return each sink's configuration and node by its name."""
    found: dict[str, tuple[Mapping[str, Any], Node]] = {}
    for sink in sinks.items():
        values = sink.plain()
        if isinstance(values, dict) and "name" in values:
            kept = {key: value for key, value in values.items() if key not in _OF_THE_MATRIX}
            found[str(values["name"])] = ({"class_name": class_of(sink), **kept}, sink)
    return found


def _fields_of(class_name: str) -> frozenset[str]:
    if class_name not in compoconf.registered(Sink):
        return frozenset()
    interface: Any = Sink
    config = typing.get_type_hints(compoconf.Registry.get_class(interface, class_name))["config"]
    return frozenset(field.name for field in fields(config))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower()).removesuffix("sink")
