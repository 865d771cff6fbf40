"""Matrices in a folder of their own, and scripts of the test suite in place of Curator's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

# Keeps the file contract: what it was given goes into params.json, --metrics into metrics.json.
SCRIPT = """
import argparse, json, os, pickle, sys, time
from pathlib import Path
parser = argparse.ArgumentParser()
parser.add_argument("--benchmark-results-path", type=Path, required=True)
parser.add_argument("--metrics", type=json.loads, default={"is_success": True, "throughput_mb_s": 42.0})
parser.add_argument("--seconds", type=float, default=0)
args, others = parser.parse_known_args()
print("to stdout", flush=True)
print("to stderr", file=sys.stderr, flush=True)
time.sleep(args.seconds)
out = args.benchmark_results_path
(out / "params.json").write_text(json.dumps({"arguments": others, "ray": os.environ.get("RAY_ADDRESS", "")}))
(out / "metrics.json").write_text(json.dumps(args.metrics))
(out / "tasks.pkl").write_bytes(pickle.dumps([]))
"""


@dataclass
class MatrixFolder:
    """A folder as a benchmarking repository has it; commands run in it."""

    root: Path

    @property
    def results(self) -> Path:
        return self.root / "results"

    def write(self, name: str, text: str) -> Path:
        """Write a file; `RESULTS` and `ROOT` in it stand for the folders."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = dedent(text).lstrip("\n").replace("RESULTS", str(self.results)).replace("ROOT", str(self.root))
        path.write_text(text, encoding="utf-8")
        return path

    def script(self, name: str, text: str = SCRIPT) -> Path:
        """Write a script beside the configuration."""
        return self.write(f"scripts/{name}.py", text)

    def start(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "oellm_bench", "matrix", *map(str, arguments)],
            cwd=self.root,
            env={**os.environ, **(env or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(
        self, *arguments: str | Path, env: Mapping[str, str] | None = None, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        process = self.start(*arguments, env=env)
        try:
            stdout, stderr = process.communicate(timeout=timeout)
        finally:
            process.kill()
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def listed(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> dict[str, dict[str, Any]]:
        """Return the planned entries by name."""
        done = self.run("list", *arguments, "--json", env=env)
        assert done.returncode == 0, done.stderr
        return {entry["name"]: entry for entry in json.loads(done.stdout)["entries"]}

    def refused(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> str:
        """Return the message for which a matrix is refused; nothing has been written."""
        done = self.run("check", *arguments, env=env)
        assert done.returncode == 2, (done.returncode, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        assert not self.results.exists()
        return done.stderr

    def result(self, session: str, entry: str) -> dict[str, Any]:
        return json.loads((self.results / session / entry / "results.json").read_text())
