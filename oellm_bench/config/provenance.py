"""Where a value of the composed configuration was written: file and line, or the command line."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml

from oellm_bench.errors import Problem

_SWEPT = re.compile(
    r"sweep\.(?:(?:configs|groups)\.\d+\.)*(?:axes(?:\.\d+)?|params|defaults|base_values|configs\.\d+)\.(?P<key>.+)"
)
# At the root as well as inside `restart`; the root's wins.
_POLICIES = "restart_policies"


@dataclass(frozen=True)
class Source:
    """One YAML file of the composition; its content lands below `package` (dotted, "" for the root)."""

    path: Path
    package: str

    @cached_property
    def _root(self) -> yaml.Node | None:
        with self.path.open(encoding="utf-8") as stream:
            root: yaml.Node | None = yaml.compose(stream, Loader=yaml.CSafeLoader)
        return root

    @cached_property
    def lines(self) -> Mapping[str, int]:
        """Return the line (from 1) of every dotted key in the file, as keys of the whole configuration.

        A key that a sweep sets is there under its own name too, where nothing else in the file sets it.
        """
        found: dict[str, int] = {}
        if self._root is not None:
            _collect(self._root, self.package, found)
        for name, line in [*found.items()]:
            swept = _SWEPT.fullmatch(name)
            if swept:
                found.setdefault(swept["key"], line)
        return found

    def problems(self) -> Iterator[Problem]:
        """Yield what Hydra reads without a word, and not as it was meant."""
        if self._root is None:
            return
        if not isinstance(self._root, yaml.MappingNode):
            yield Problem(what="the file holds no mapping", where=str(self.path), fix="write KEY: VALUE lines")
        for key, node in _scalars(self._root, self.package):
            if node.tag in ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float") and ":" in node.value:
                what = f"YAML reads {node.value} without quotes as a number to base 60"
                where = f"{self.path}:{node.start_mark.line + 1}: {key}"
                yield Problem(what=what, where=where, fix=f"quote it: '{node.value}'")

    def collections(self) -> Iterator[tuple[str, str]]:
        """Yield the dotted key of every list and mapping in the file, and which of the two it is."""
        yield from _collections(self._root, self.package) if self._root is not None else ()

    @property
    def recursive_at(self) -> int:
        """The line (from 1) of an anchor that holds itself, 0 where there is none."""
        return _recursive_line(self._root, ()) if self._root is not None else 0

    def keys(self) -> Mapping[str, object]:
        """Return the plain content of the file, without its defaults list."""
        with self.path.open(encoding="utf-8") as stream:
            content = yaml.load(stream, Loader=yaml.CSafeLoader)
        if not isinstance(content, Mapping):
            return {}
        return {key: value for key, value in content.items() if key != "defaults"}


@dataclass(frozen=True)
class Provenance:
    """The files of a composition, in the order they were merged, and the overrides on the command line."""

    sources: Sequence[Source]
    overrides: Mapping[str, str]

    def where(self, key: str) -> str:
        """Return `file:line` (or the override) that set the dotted `key`, else where its parent was set.

        Several sources may have set it; the last one merged won.
        """
        if key.startswith(f"restart.{_POLICIES}") and self._sets(_POLICIES):
            key = key.removeprefix("restart.")
        parts = key.split(".")
        for length in range(len(parts), 0, -1):
            name = ".".join(parts[:length])
            typed = next((o for k, o in self.overrides.items() if k == name or k.startswith(f"{name}.")), None)
            if name in self.overrides or (typed and not any(name in source.lines for source in self.sources)):
                return f"{self.overrides.get(name, typed)}: {key}"
            for source in reversed(self.sources):
                if name in source.lines:
                    return f"{shown(source.path)}:{source.lines[name]}: {key}"
        primary = next((source.path for source in reversed(self.sources) if not source.package), None)
        return f"{shown(primary)}: {key}" if primary else key

    def _sets(self, key: str) -> bool:
        return key in self.overrides or any(key in source.lines for source in self.sources)


@dataclass(frozen=True)
class OverlaidProvenance(Provenance):
    """The same, under values that were written elsewhere; what the command line says goes above both."""

    overlaid: Collection[str]
    place: Callable[[str], str]

    @classmethod
    def over(cls, below: Provenance, overlaid: Collection[str], place: Callable[[str], str]) -> OverlaidProvenance:
        """Return a provenance over another: `place` tells where the overlaid keys were written."""
        return cls(sources=below.sources, overrides=below.overrides, overlaid=overlaid, place=place)

    def where(self, key: str) -> str:
        """Return where the overlaid value was written, else what is known below."""
        over = any(key == name or key.startswith(f"{name}.") for name in self.overlaid)
        return self.place(key) if over and key not in self.overrides else super().where(key)


def clash(sources: Sequence[Source]) -> Problem | None:
    """Return where a list stands for what an earlier file has as a mapping, or the other way round."""
    known: dict[str, str] = {}
    for source in sources:
        for key, kind in source.collections():
            before = known.setdefault(key, kind)
            if before != kind:
                fix = "write KEY: VALUE lines" if before == "mapping" else "write a list"
                where = Provenance([source], {}).where(key)
                return Problem(what=f"a {kind} cannot be merged with the {before} that is there", where=where, fix=fix)
    return None


def shown(path: Path) -> str:
    """Return a path as short as a person here needs it."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def _collect(node: yaml.Node, prefix: str, found: dict[str, int]) -> None:
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            name = f"{prefix}.{key_node.value}" if prefix else str(key_node.value)
            found[name] = key_node.start_mark.line + 1
            _collect(value_node, name, found)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            name = f"{prefix}.{index}"
            found[name] = item.start_mark.line + 1
            _collect(item, name, found)


def _recursive_line(node: yaml.Node, within: tuple[yaml.Node, ...]) -> int:
    if any(node is outer for outer in within):
        return int(node.start_mark.line) + 1
    children: list[yaml.Node] = []
    if isinstance(node, yaml.MappingNode):
        children = [child for pair in node.value for child in pair]
    elif isinstance(node, yaml.SequenceNode):
        children = node.value
    return next((line for child in children if (line := _recursive_line(child, (*within, node)))), 0)


def _collections(node: yaml.Node, key: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, yaml.MappingNode):
        yield key, "mapping"
        for key_node, value_node in node.value:
            yield from _collections(value_node, f"{key}.{key_node.value}" if key else str(key_node.value))
    elif isinstance(node, yaml.SequenceNode):
        yield key, "list"  # what is in it is merged with nothing


def _scalars(node: yaml.Node, key: str) -> Iterator[tuple[str, yaml.ScalarNode]]:
    """Yield every scalar value below a node with its dotted key."""
    if isinstance(node, yaml.ScalarNode):
        yield key, node
    elif isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            yield from _scalars(value_node, f"{key}.{key_node.value}" if key else str(key_node.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _scalars(item, f"{key}.{index}")
