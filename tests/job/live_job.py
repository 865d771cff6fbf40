"""A session with one entry in a folder of its own, and run_entry as a real process in it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from oellm_bench.core.layout import AttemptLayout, EntryLayout, SessionLayout
from oellm_bench.core.plan import Plan, PlannedEntry, to_text
from oellm_bench.core.result import EntryResult, ExitRecord

DEADLINE_S = 30.0
MARK = "OELLM_BENCH_TEST_MARK"


def wait_for(condition: Callable[[], Any], what: str) -> Any:
    """Return the condition's first true value; fail after 30 s."""
    deadline = time.monotonic() + DEADLINE_S
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {DEADLINE_S:g} s for {what}"
        time.sleep(0.01)
    return value


def processes_with(mark: str) -> list[int]:
    """Return the living processes that inherited the mark in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):
                if mark.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
    return found


def command_of(pid: int) -> bytes:
    """Return a process's command line, empty for one that is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")
    return b""


class Job:
    """A session with one entry, and run_entry as a real process in it."""

    def __init__(self, root: Path, mark: str) -> None:
        self.session = root
        self.mark = mark

    def plan(self, *argv: str, **changes: Any) -> None:
        values: dict[str, Any] = {
            "index": 0,
            "id": "k7q2m4xa",
            "name": "entry_a",
            "parameters": {"size": 3},
            "argv": argv,
            "timeout_s": 60.0,
            "script": "scripts/entry_a.sbatch",
        }
        entry = PlannedEntry(**{**values, **changes})
        self.session.mkdir(parents=True, exist_ok=True)
        text = to_text(Plan(project="test", fingerprint="0", entries=(entry,)))
        (self.session / "sweep.json").write_text(text, encoding="utf-8")

    def command(self, *arguments: str) -> list[str]:
        sweep = str(self.session / "sweep.json")
        return [sys.executable, "-m", "oellm_bench.run_entry", "--sweep", sweep, "--index", "0", *arguments]

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments),
            env={**os.environ, MARK: self.mark, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, **environment)
        stdout, stderr = process.communicate(timeout=90)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    @property
    def folder(self) -> EntryLayout:
        return SessionLayout(self.session).entry("entry_a")

    def attempt(self, number: int = 1) -> AttemptLayout:
        return self.folder.attempt(number)

    def record(self, number: int = 1) -> ExitRecord:
        return ExitRecord.from_document(json.loads(self.attempt(number).exit.read_text()))

    def result(self) -> EntryResult:
        return EntryResult.from_document(json.loads(self.folder.results.read_text()))

    def exec_time_s(self) -> float:
        elapsed_s = self.result().exec_time_s
        assert elapsed_s is not None
        return elapsed_s

    def wait_for_output(self, text: str, number: int = 1) -> None:
        path = self.attempt(number).stdout
        wait_for(lambda: path.exists() and text in path.read_text(), f"'{text}' in stdout.log")

    def processes(self) -> list[int]:
        return processes_with(self.mark)

    def observers(self) -> list[int]:
        """Return the living processes that watch an attempt from beside."""
        return [pid for pid in self.processes() if b"oellm_bench.observer" in command_of(pid)]

    def artifact(self, name: str) -> Any:
        """Return what was recorded: a document, the rows of a .jsonl, a text."""
        text = (self.folder.artifacts / name).read_text()
        if name.endswith(".jsonl"):
            return [json.loads(line) for line in text.splitlines()]
        return json.loads(text) if name.endswith(".json") else text

    def heartbeat(self, number: int = 1) -> dict[str, Any]:
        """Return the latest heartbeat, empty before the first."""
        try:
            return dict(json.loads(self.attempt(number).heartbeat.read_text()))
        except FileNotFoundError:
            return {}
