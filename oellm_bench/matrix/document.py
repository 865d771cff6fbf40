"""YAML whose every value knows its file and line, merged from several files."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from oellm_bench.config.provenance import shown
from oellm_bench.errors import ConfigError, Problem

# What tells the items of a list apart: the first of these that both have.
_IDENTITIES = ("name", "metric", "type")
_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}" for name in "map seq str int float bool null timestamp binary value merge".split()
)
_MOST_VALUES = 200_000  # aliases of aliases can make a small file endless
_DEEPEST = 60


@dataclass(frozen=True)
class Node:
    """A value and where it was written (`file:line`); the values of mappings and the items of lists are nodes too."""

    value: Any
    where: str

    def plain(self) -> Any:
        """Return the value without its places."""
        if isinstance(self.value, dict):
            return {name: node.plain() for name, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def get(self, name: str) -> Node | None:
        """Return the value of a key, None where this is no mapping or has no such key."""
        return self.value.get(name) if isinstance(self.value, dict) else None

    def items(self) -> list[Node]:
        """Return the items of a list, nothing where this is none."""
        return self.value if isinstance(self.value, list) else []

    def find(self, key: str) -> Node:
        """Return what a dotted key leads to, or the nearest above it that is there."""
        node = self
        for part in key.split(".") if key else ():
            inner: Node | None = None
            if isinstance(node.value, dict):
                inner = node.value.get(part)
            elif isinstance(node.value, list) and part.isdecimal() and int(part) < len(node.value):
                inner = node.value[int(part)]
            if inner is None:
                break
            node = inner
        return node

    def mapped(self, change: Callable[[str, Node], Any], key: str = "") -> Node:
        """Return the tree with every scalar replaced by `change(dotted key, node)`."""
        if isinstance(self.value, dict):
            return Node(
                {name: node.mapped(change, f"{key}.{name}".lstrip(".")) for name, node in self.value.items()},
                self.where,
            )
        if isinstance(self.value, list):
            return Node(
                [node.mapped(change, f"{key}.{number}".lstrip(".")) for number, node in enumerate(self.value)],
                self.where,
            )
        return Node(change(key, self), self.where)


def read_files(paths: Sequence[Path]) -> Node:
    """Return the files, each with any number of YAML documents, merged in their order. Raises ConfigError."""
    merged: Node | None = None
    for node in itertools.chain.from_iterable(map(_documents, paths)):
        merged = node if merged is None else merge(merged, node)
    if merged is None:
        raise ConfigError(Problem(what="there is nothing in it", where=shown(paths[0]), fix="write KEY: VALUE lines"))
    return merged


def merge(first: Node, second: Node) -> Node:
    """Return `first` changed by `second`.

    Mappings are merged key by key. Of two lists, an item with the `name` (`metric`, `type`) of an earlier one is
    merged into that, and any other mapping is appended; a list of plain values replaces the earlier one, and so does
    everything else. null is a value like any other.
    """
    if isinstance(first.value, dict) and isinstance(second.value, dict):
        both = {name: merge(first.value[name], node) for name, node in second.value.items() if name in first.value}
        return Node({**first.value, **second.value, **both}, second.where)
    if isinstance(first.value, list) and any(isinstance(item.value, dict) for item in second.items()):
        return Node(_merged_items(first.value, second.value), second.where)
    return second


def without_disabled(node: Node) -> Node:
    """Return the tree without the items of lists that say `enabled: false`. Raises ConfigError for what is neither."""
    if isinstance(node.value, dict):
        return Node({name: without_disabled(inner) for name, inner in node.value.items()}, node.where)
    if isinstance(node.value, list):
        return Node([without_disabled(item) for item in node.value if _is_enabled(item)], node.where)
    return node


def _is_enabled(item: Node) -> bool:
    said = item.get("enabled")
    if said is None:
        return True
    if not isinstance(said.value, bool):
        what, fix = f"enabled: {said.value!r} is not true/false", "write true or false, without quotes"
        raise ConfigError(Problem(what=what, where=said.where, fix=fix))
    return said.value


def _merged_items(first: Sequence[Node], second: Sequence[Node]) -> list[Node]:
    items = [*first]
    for item in second:
        at = next((number for number, other in enumerate(first) if _same(other, item)), None)
        if at is None:
            items.append(item)
        else:
            items[at] = merge(items[at], item)
    return items


def _same(first: Node, second: Node) -> bool:
    for name in _IDENTITIES:
        one, other = first.get(name), second.get(name)
        if one is not None and other is not None:
            return bool(one.value == other.value)
    return False


def _documents(path: Path) -> Iterator[Node]:
    try:
        with path.open(encoding="utf-8") as stream:
            loader = yaml.CSafeLoader(stream)
            try:
                reader = _Reader(loader, shown(path))
                while loader.check_node():
                    node = reader.read(loader.get_node(), ())  # type: ignore[arg-type]
                    if node.value is not None:
                        yield _mapping(node)
            finally:
                loader.dispose()
    except OSError as err:
        what = f"cannot be read ({err.strerror})"
        raise ConfigError(Problem(what=what, where=shown(path), fix="give the path of a YAML file")) from err
    except UnicodeDecodeError as err:
        raise ConfigError(Problem(what=f"is no text in UTF-8 ({err.reason})", where=shown(path))) from err
    except yaml.MarkedYAMLError as err:
        line = f":{err.problem_mark.line + 1}" if err.problem_mark else ""
        what = f"this is no YAML: {err.problem or err}"
        raise ConfigError(Problem(what=what, where=f"{shown(path)}{line}", fix="correct it")) from err
    except yaml.YAMLError as err:
        what = f"this is no YAML: {' '.join(str(err).split())}"
        raise ConfigError(Problem(what=what, where=shown(path), fix="correct it")) from err


def _mapping(node: Node) -> Node:
    if not isinstance(node.value, dict):
        raise ConfigError(Problem(what="this is no mapping", where=node.where, fix="write KEY: VALUE lines"))
    return node


class _Reader:
    """Turns the nodes of one file into ours. Raises ConfigError for what YAML allows and nobody means."""

    def __init__(self, loader: yaml.CSafeLoader, file: str) -> None:
        self._loader = loader
        self._file = file
        self._count = 0

    def read(self, node: yaml.Node, above: tuple[yaml.Node, ...]) -> Node:
        """Return a node of YAML's as ours; `above` are those it is in."""
        where = f"{self._file}:{node.start_mark.line + 1}"
        self._count += 1
        if any(node is other for other in above) or len(above) > _DEEPEST or self._count > _MOST_VALUES:
            what = "an anchor holds itself, or there are too many values"
            raise ConfigError(Problem(what=what, where=where, fix="write the values out"))
        if node.tag not in _TAGS:
            raise ConfigError(Problem(what=f"the tag {node.tag} means nothing here", where=where, fix="take it out"))
        if isinstance(node, yaml.MappingNode):
            return Node(self._mapping(node, (*above, node)), where)
        if isinstance(node, yaml.SequenceNode):
            return Node([self.read(item, (*above, node)) for item in node.value], where)
        return Node(self._scalar(node, where), where)

    def _mapping(self, node: yaml.MappingNode, above: tuple[yaml.Node, ...]) -> dict[str, Node]:
        own = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and own.count(key.value) > 1:
                what, where = f"'{key.value}' stands here twice", f"{self._file}:{key.start_mark.line + 1}"
                raise ConfigError(Problem(what=what, where=where, fix="keep one of the two"))
        self._loader.flatten_mapping(node)  # `<<: *anchor`
        result = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                where = f"{self._file}:{key.start_mark.line + 1}"
                raise ConfigError(Problem(what="a key is no text", where=where, fix="give it a name"))
            result[str(key.value)] = self.read(value, above)
        return result

    def _scalar(self, node: yaml.Node, where: str) -> Any:
        number = node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
        if number and ":" in node.value:
            what = f"YAML reads {node.value} without quotes as a number to base 60"
            raise ConfigError(Problem(what=what, where=where, fix=f"quote it: '{node.value}'"))
        value = self._loader.construct_object(node)
        if isinstance(value, str | int | float | bool) or value is None:
            return value
        return node.value  # a date, say: text, as it stands
