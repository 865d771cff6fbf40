"""A matrix as read, with the place of every value."""

from __future__ import annotations

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
        """The paths with a name, as an entry sees them."""
        return {
            path.name: (path.container_path if self.contained else "") or path.host_path for path in self.matrix.paths
        }

    @cached_property
    def datasets(self) -> dict[str, dict[str, str]]:
        """Path by name and format; a path may itself begin with one that has a name."""
        return {
            dataset.name: {form.type: self._with_paths(form.path) for form in dataset.formats}
            for dataset in self.matrix.datasets
        }

    @cached_property
    def literals(self) -> dict[str, str]:
        """What has a value from the start, and is no input of an entry: text by placeholder."""
        known = {"results_path": self.results_dir, "curator_repo_dir": self.repository}
        return {name: text for name, text in known.items() if text}

    def placeholders(self) -> Placeholders:
        """Return what the placeholders of one entry may stand for."""
        names = [f"{name},{form}" for name, forms in self.datasets.items() for form in forms]
        return Placeholders(names, self.paths, self.literals)

    @property
    def results_dir(self) -> str:
        """Where sessions are written to, on the node itself."""
        return self.matrix.results_dir or next(p.host_path for p in self.matrix.paths if p.name == "results_path")

    def _with_paths(self, text: str) -> str:
        for name, path in self.paths.items():
            text = text.replace(f"{{{name}}}", path)
        return text
