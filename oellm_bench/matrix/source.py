"""A matrix as read, with the place of every value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from oellm_bench.matrix.arguments import Placeholders
from oellm_bench.matrix.document import Node
from oellm_bench.matrix.schema import Matrix


@dataclass(frozen=True, kw_only=True)
class Source:
    """A matrix as read: typed, with the place of every value.

    `folder`: that of its first file. `older`: it came in the older format. `repository`: the folder that
    `{curator_repo_dir}` stands for. `contained`: entries run in a container, and see paths there.
    """

    matrix: Matrix
    document: Node
    project: str
    folder: Path
    older: bool
    repository: str
    contained: bool

    @cached_property
    def paths(self) -> dict[str, str]:
        """The paths with a name, as the node has them."""
        return {path.name: path.host_path for path in self.matrix.paths}

    @cached_property
    def datasets(self) -> dict[str, dict[str, str]]:
        """Path by name and format, as the node has them; one may itself begin with a path that has a name."""
        return self._datasets(self.paths)

    @cached_property
    def literals(self) -> dict[str, str]:
        """What has a value from the start: text by placeholder. In a container, also what is elsewhere there."""
        known = {"results_path": self.results_dir, "curator_repo_dir": self.repository}
        if self.contained:
            inside = {path.name: path.container_path or path.host_path for path in self.matrix.paths}
            known |= {name: path for name, path in inside.items() if path != self.paths[name]}
            here, there = _by_placeholder(self.datasets), _by_placeholder(self._datasets(inside))
            known |= {name: path for name, path in there.items() if path != here[name]}
        return {name: text for name, text in known.items() if text}

    def placeholders(self) -> Placeholders:
        """Return what the placeholders of one entry may stand for."""
        return Placeholders([*_by_placeholder(self.datasets)], self.paths, self.literals)

    @property
    def results_dir(self) -> str:
        """Where sessions are written to, on the node itself."""
        return self.matrix.results_dir or next(p.host_path for p in self.matrix.paths if p.name == "results_path")

    def _datasets(self, paths: Mapping[str, str]) -> dict[str, dict[str, str]]:
        return {
            dataset.name: {form.type: _with_paths(form.path, paths) for form in dataset.formats}
            for dataset in self.matrix.datasets
        }


def _by_placeholder(datasets: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    return {f"{name},{form}": path for name, forms in datasets.items() for form, path in forms.items()}


def _with_paths(text: str, paths: Mapping[str, str]) -> str:
    for name, path in paths.items():
        text = text.replace(f"{{{name}}}", path)
    return text
