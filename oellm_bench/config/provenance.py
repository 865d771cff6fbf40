"""Where a value of the composed configuration was written: file and line, or the command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import yaml


@dataclass(frozen=True)
class Source:
    """One YAML file of the composition; its content lands below `package` (dotted, "" for the root)."""

    path: Path
    package: str

    @cached_property
    def lines(self) -> Mapping[str, int]:
        """Return the line (from 1) of every dotted key in the file, as keys of the whole configuration."""
        with self.path.open(encoding="utf-8") as stream:
            root = yaml.compose(stream, Loader=yaml.CSafeLoader)
        found: dict[str, int] = {}
        if root is not None:
            _collect(root, self.package, found)
        return found

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
        parts = key.split(".")
        for length in range(len(parts), 0, -1):
            name = ".".join(parts[:length])
            if name in self.overrides:
                return f"{self.overrides[name]}: {key}"
            for source in reversed(self.sources):
                if name in source.lines:
                    return f"{source.path}:{source.lines[name]}: {key}"
        primary = next((source.path for source in reversed(self.sources) if not source.package), None)
        return f"{primary}: {key}" if primary else key


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
