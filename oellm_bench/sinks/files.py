"""results.jsonl in the session's folder: one line per ended entry."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compoconf import register

from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.fileio import atomic_write_text
from oellm_bench.sinks.base import Sink


@dataclass(frozen=True, kw_only=True)
class FilesSinkConfig(PluginConfig):
    """Results as lines of JSON."""

    filename: str = option("name of the file in the session's folder", "results.jsonl")


@register
class FilesSink(Sink):
    """Append as results come, so that nothing waits for the end; at the end each entry has one line."""

    config: FilesSinkConfig

    def __init__(self, config: FilesSinkConfig) -> None:
        self.config = config
        self._path = Path()

    def initialize(self, session_name: str, env_data: Mapping[str, Any]) -> None:
        """Find the file."""
        self._path = Path(env_data["session_dir"]) / self.config.filename

    def process_result(self, result: Mapping[str, Any]) -> None:
        """Append the result, on a line of its own also after one that a crash cut short."""
        with self._path.open("a+b") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - 1))
            cut_short = stream.read(1) not in (b"", b"\n")
            stream.write(b"\n" * cut_short + json.dumps(result, allow_nan=False).encode() + b"\n")

    def finalize(self) -> None:
        """Keep the last line of each entry; lines cut short by a crash are dropped."""
        latest: dict[str, str] = {}
        for line in self._path.read_text(encoding="utf-8").splitlines() if self._path.exists() else ():
            with contextlib.suppress(ValueError, KeyError):
                latest[json.loads(line)["id"]] = line
        atomic_write_text(self._path, "".join(f"{line}\n" for line in latest.values()))
