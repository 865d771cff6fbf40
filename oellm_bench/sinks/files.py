"""results.jsonl and results.csv in the session's folder, a line per ended entry, and notices.jsonl, one per notice."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compoconf import register

from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.fileio import atomic_write_text
from oellm_bench.results.spreadsheet import to_csv
from oellm_bench.sinks.base import OLDER_NAMES, Notice, Sink


@dataclass(frozen=True, kw_only=True)
class FilesSinkConfig(PluginConfig):
    """Results as lines of JSON, and as a table when all are there."""

    filename: str = option("name of the file in the session's folder", "results.jsonl")
    csv: str = option("name of the table in the session's folder, written at the end; empty: none", "results.csv")
    notices: str = option("name of the file of notices in the session's folder", "notices.jsonl")


@register
class FilesSink(Sink):
    """Append as results come, so that nothing waits for the end; at the end each entry has one line."""

    direct = True
    config: FilesSinkConfig

    def __init__(self, config: FilesSinkConfig) -> None:
        self.config = config
        self._folder = Path()
        self._path = Path()
        self._notices = Path()

    def initialize(self, session_name: str, env_data: Mapping[str, Any]) -> None:
        """Find the file."""
        self._folder = Path(env_data["session_dir"])
        self._path, self._notices = self._folder / self.config.filename, self._folder / self.config.notices

    def process_result(self, result: Mapping[str, Any]) -> None:
        """Append the result, without what stands in it a second time under an older name."""
        _append(self._path, {name: value for name, value in result.items() if name not in OLDER_NAMES})

    def notify(self, notice: Notice) -> None:
        """Append the notice."""
        _append(self._notices, asdict(notice))

    def finalize(self) -> None:
        """Keep the last line of each entry and of each notice; lines cut short by a crash are dropped."""
        results = _keep_latest(self._path, "id")
        if self.config.csv:
            atomic_write_text(self._folder / self.config.csv, to_csv(results))
        if self._notices.exists():
            _keep_latest(self._notices, "key")


def _append(path: Path, document: Mapping[str, Any]) -> None:
    """Append a line, on its own also after one that a crash cut short."""
    with path.open("a+b") as stream:
        stream.seek(max(0, stream.seek(0, os.SEEK_END) - 1))
        cut_short = stream.read(1) not in (b"", b"\n")
        stream.write(b"\n" * cut_short + json.dumps(document, allow_nan=False).encode() + b"\n")


def _keep_latest(path: Path, key: str) -> list[Mapping[str, Any]]:
    latest: dict[str, str] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError, KeyError):
            latest[json.loads(line)[key]] = line
    atomic_write_text(path, "".join(f"{line}\n" for line in latest.values()))
    return [json.loads(line) for line in latest.values()]
