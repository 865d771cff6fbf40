"""One entry of a matrix as an entry of a campaign."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from oellm_bench.backends.arguments import to_argv
from oellm_bench.config.overlays import Overlay
from oellm_bench.errors import Problem
from oellm_bench.matrix.arguments import unknown, without_results_path
from oellm_bench.matrix.schema import MatrixEntry
from oellm_bench.matrix.sinks import configurations
from oellm_bench.matrix.source import Source
from oellm_bench.naming import check_name
from oellm_bench.placeholders import UnknownPlaceholder

# Names in a session's folder that an entry cannot have there.
_OF_A_SESSION = frozenset(
    "actions config.yaml entries installed journal.jsonl notices.jsonl ray report.html results.csv results.jsonl "
    "scripts session.json sinks slurm sweep.json wandb".split()
)


class EntryTranslation:
    """One entry on its way; collects what is wrong with it."""

    def __init__(self, source: Source, entry: MatrixEntry, key: str) -> None:
        self._source = source
        self._entry = entry
        self._key = key
        self._placeholders = source.placeholders()
        self.problems: list[Problem] = []

    def overlays(self, shared: Mapping[str, Any]) -> Iterator[Overlay]:
        """Yield the entry, as often as it is to be run; nothing where something is wrong with it."""
        entry = self._entry
        self.problems += check_name(entry.name, self._where("name"))
        if entry.name in _OF_A_SESSION:
            fix = "choose another: the session's folder has a file of that name"
            self.problems.append(Problem(what=f"'{entry.name}' cannot be a name", where=self._where("name"), fix=fix))
        if entry.repeat < 1:
            self._refuse("repeat", "an entry runs once at least", "give 1 or more, or enabled: false")
        values = {**shared, **self._values(), **self._inputs()}
        if self.problems:
            return
        for number in range(1, entry.repeat + 1):
            name = entry.name if entry.repeat == 1 else f"{entry.name}_r{number}"
            parameters = {} if entry.repeat == 1 else {"repetition": number}
            yield Overlay(
                name=name,
                group=entry.name,
                parameters=parameters,
                values=values,
                where=self._place,
            )

    def _values(self) -> dict[str, Any]:
        entry, matrix = self._entry, self._source.matrix
        timeout_s = matrix.default_timeout_s if entry.timeout_s is None else entry.timeout_s
        if not 0 < timeout_s < math.inf:
            key = "timeout_s" if entry.timeout_s is not None else "default_timeout_s"
            self._refuse(key, f"{timeout_s:g} s is no time limit", "give a number above 0")
        elif matrix.max_timeout_s is not None and timeout_s > matrix.max_timeout_s:
            fix = f"give at most max_timeout_s ({matrix.max_timeout_s:g} s)"
            self._refuse("timeout_s", f"{timeout_s:g} s is more than an entry may ask for", fix)
        bounds = [{k: v for k, v in asdict(bound).items() if v not in (None, "")} for bound in entry.requirements]
        return {
            "project.timeout_s": timeout_s,
            "project.delete_scratch": matrix.delete_scratch if entry.delete_scratch is None else entry.delete_scratch,
            "project.expected_failure": entry.expected_failure,
            "backend": {
                "class_name": "ScriptBackend",
                "script": self._script(),
                "args": self._arguments(),
                "environment": {name: self._text(value, "environment") for name, value in entry.environment.items()},
                "cwd": self._text(entry.cwd, "cwd"),
            },
            "requirements": bounds,
            "sink_data": self._sink_data(),
            **self._ray(),
            **{f"slurm.sbatch.{name}": value for name, value in entry.sbatch.items()},
        }

    def _inputs(self) -> dict[str, Any]:
        """Return the datasets and paths that the entry uses; of the others it does not matter whether they exist."""
        used, source = self._placeholders.used, self._source
        datasets = {
            name: {form: path for form, path in forms.items() if f"{name},{form}" in used}
            for name, forms in source.datasets.items()
        }
        return {
            "datasets": {name: forms for name, forms in datasets.items() if forms},
            "paths": {name: path for name, path in source.paths.items() if name in used - {"results_path"}},
        }

    def _script(self) -> str:
        entry, source = self._entry, self._source
        given = entry.script_base_dir or entry.script_base_path or source.matrix.script_base_dir
        folders = [Path(self._text(given, "script_base_dir"))] if given else [source.folder / "scripts", source.folder]
        if given and not folders[0].is_absolute():
            folders.append(source.folder / folders[0])
        candidates = [(folder / self._text(entry.script, "script")).absolute() for folder in folders]
        found = next((path for path in candidates if path.is_file()), None)
        if found is None and not source.contained:
            looked = ", ".join(dict.fromkeys(str(path) for path in candidates))
            self._refuse("script", f"there is no such script ({looked})", "give its path, or script_base_dir")
        return str(found or candidates[0]).replace("{", "{{").replace("}", "}}")

    def _arguments(self) -> list[str]:
        given = self._entry.args
        if isinstance(given, str):
            given = self._text(given, "args")
        try:
            words = to_argv(given)
        except ValueError as err:
            fix = "close the quote" if isinstance(given, str) else "give words, numbers or true/false"
            self._refuse("args", f"this makes no words of a command ({err})", fix)
            return []
        if not isinstance(self._entry.args, str):
            words = tuple(self._text(word, "args") for word in words)
        return list(without_results_path(words, self._refuse_folder))

    def _refuse_folder(self, folder: str) -> None:
        what = f"results are looked for in the entry's own folder, not in {shlex.quote(folder)}"
        self._refuse("args", what, "write --benchmark-results-path={session_entry_dir}, or take it out")

    def _sink_data(self) -> dict[str, dict[str, Any]]:
        told: dict[str, dict[str, Any]] = {}
        for data in self._entry.sink_data:
            name = data.get("name")
            if not isinstance(name, str):
                self._refuse("sink_data", "a sink's data has no name", "name the sink")
                continue
            told[name] = {key: value for key, value in data.items() if key not in ("name", "enabled")}
        return told

    def _ray(self) -> dict[str, Any]:
        entry = self._entry
        size = entry.object_store_size
        values: dict[str, Any] = {
            "ray.enabled": entry.ray.enabled,
            "ray.num_cpus": entry.ray.num_cpus or 0,
            "ray.num_gpus": entry.ray.num_gpus or 0,
            "ray.object_spilling": bool(entry.ray.enable_object_spilling),
            "ray.object_store_bytes": 0,
            "ray.reuse": entry.ray.enabled and entry.ray.reuse,
        }
        if isinstance(size, float) and 0 < size < 1:
            values["ray.object_store_share"] = size
        elif isinstance(size, float) and size >= 1 and size.is_integer():
            values["ray.object_store_bytes"] = int(size)
        elif size not in (None, "default"):
            self._refuse("object_store_size", f"{size!r} is no size", "give bytes, a share below 1, or null")
        return values

    def _text(self, value: Any, key: str) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._placeholders.template(value)
        except UnknownPlaceholder as err:
            self.problems.append(unknown(err, self._where(key), self._placeholders.known))
            return value

    def _refuse(self, key: str, what: str, fix: str) -> None:
        self.problems.append(Problem(what=what, where=self._where(key), fix=fix))

    def _where(self, key: str) -> str:
        own = self._source.document.find(self._key)
        if own.get(key) is None and (common := self._source.document.get(key)) is not None:
            return f"{common.where}: {key}"
        return f"{own.find(key).where}: {self._entry.name}.{key}"

    def _place(self, key: str) -> str:
        """Return where a value of the configuration was written in the matrix."""
        section, _, rest = key.partition(".")
        if section == "sinks":
            name, _, inner = rest.partition(".")
            _, node = configurations(self._source.document.find("sinks"))[name]
            return f"{node.find(inner).where}: sinks.{rest}"
        own = rest.split(".")[0] if section in ("backend", "project") else {"slurm": "sbatch"}.get(section, section)
        in_entry = self._source.document.find(self._key).get(own) is not None
        node = self._source.document.find(f"{self._key}.{own}.{rest}" if in_entry else own)
        return f"{node.where}: {self._entry.name}.{own}"
