"""Placeholders of a matrix, turned into those of an entry."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence

from oellm_bench.errors import Problem, nearest
from oellm_bench.placeholders import UnknownPlaceholder

# What has a value only once the session's folder is known.
OF_THE_ENTRY = (
    "session_entry_dir",
    "session",
    "session_dir",
    "entry_name",
    "entry_id",
    "benchmark_results_path",
    "scratch",
)
RESULTS_FLAG = "--benchmark-results-path"
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_TOKEN = re.compile(
    rf"(?P<shell>\$\{{[^{{}}]*\}})|\{{\{{(?P<literal>{_NAME}|dataset:[^{{}}]*)\}}\}}"
    rf"|\{{dataset:(?P<dataset>[^{{}}]*)\}}|\{{(?P<name>{_NAME})\}}|(?P<brace>[{{}}])"
)


class Placeholders:
    """What placeholders of a matrix may stand for, and which of it one entry uses.

    `datasets`: `name,format`; `paths`: names; `literals`: text for some of both, and for further names.
    """

    def __init__(self, datasets: Collection[str], paths: Collection[str], literals: Mapping[str, str]) -> None:
        self._datasets = datasets
        self._paths = paths
        self._literals = literals
        self.used: set[str] = set()

    @property
    def known(self) -> list[str]:
        """Every placeholder that has a value."""
        return [*(f"dataset:{name}" for name in self._datasets), *self._paths, *self._literals, *OF_THE_ENTRY]

    def template(self, text: str) -> str:
        """Return a text with placeholders of a matrix as a template of this tool.

        `{dataset:name,format}`, `{path}` and what is the entry's own are placeholders; `{{name}}` is a literal
        `{name}`, and so is every other brace: JSON may stand in arguments as it is. Raises UnknownPlaceholder.
        """

        def change(match: re.Match[str]) -> str:
            if match["shell"]:  # `$${NAME}` in the file
                return f"${{{match['shell'][1:]}}}"
            if match["brace"]:
                return match["brace"] * 2
            if match["literal"] is not None:
                return f"{{{{{match['literal']}}}}}"
            return self._named(match["name"] or match["dataset"], match["dataset"] is not None, text)

        return _TOKEN.sub(change, text)

    def _named(self, name: str, is_dataset: bool, text: str) -> str:
        if is_dataset:
            wanted = ",".join(part.strip() for part in name.split(","))
            if wanted not in self._datasets:
                raise UnknownPlaceholder(f"dataset:{name}", text)
            return self._filled(wanted, f"{{dataset:{wanted}}}")
        if name in OF_THE_ENTRY:
            return f"{{{name}}}"
        if name not in self._literals and name not in self._paths:
            raise UnknownPlaceholder(name, text)
        return self._filled(name, f"{{path:{name}}}")

    def _filled(self, name: str, placeholder: str) -> str:
        self.used.add(name)
        literal = self._literals.get(name)
        return placeholder if literal is None else literal.replace("{", "{{").replace("}", "}}")


def unknown(err: UnknownPlaceholder, where: str, known: Sequence[str]) -> Problem:
    """Return the problem of a placeholder that nothing stands for."""
    fix = f"{nearest(err.name, known)}; write {{{{{err.name}}}}} for the text {{{err.name}}} itself"
    return Problem(what=f"{{{err.name}}} has no value", where=where, fix=fix)


def without_results_path(arguments: tuple[str, ...], refuse: Callable[[str], None]) -> tuple[str, ...]:
    """Return the arguments without the flag for the results' folder, which is put there in any case.

    `refuse` is told another folder than the entry's own: results are looked for in one place.
    """
    kept: list[str] = []
    rest = iter(arguments)
    for item in rest:
        flag, equals, value = item.partition("=")
        if flag != RESULTS_FLAG:
            kept.append(item)
            continue
        folder = value if equals else next(rest, "")
        if folder.rstrip("/") not in _RESULT_FOLDERS:
            refuse(folder)
    return tuple(kept)


_RESULT_FOLDERS = (
    "{session_entry_dir}",
    "{session}",
    "{session}/benchmark_results",
    "{session_entry_dir}/benchmark_results",
    "{benchmark_results_path}",
)
