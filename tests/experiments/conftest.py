"""The packaged experiments on this machine: the embedded scheduler, and the small trainer in Megatron's place."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.experiments.trainer import TRAINER, losses

ROOT = Path(__file__).resolve().parents[2]
PACKAGED = ROOT / "config" / "experiments"
SMALL = {"_000": "", "25B": "1_280", "5B": "1_280", "1B": "1_280"}  # iterations and tokens; 64 tokens are an iteration


@dataclass(frozen=True)
class Session:
    """What a run has left."""

    folder: Path

    @property
    def results(self) -> dict[str, dict]:
        lines = (self.folder / "results.jsonl").read_text().splitlines()
        return {row["name"]: row for row in map(json.loads, lines)}

    def events(self, kind: str) -> list[dict]:
        events = map(json.loads, (self.folder / "journal.jsonl").read_text().splitlines())
        return [event for event in events if event["event"] == kind]

    def modes(self) -> dict[str, list[str]]:
        """Return how the attempts of each entry ended."""
        names = {entry["id"]: entry["name"] for entry in self.plan["entries"]}
        found: dict[str, list[str]] = {name: [] for name in names.values()}
        for event in self.events("Ended"):
            found[names[event["entry"]]].append(event["mode"])
        return found

    @property
    def plan(self) -> dict:
        return json.loads((self.folder / "sweep.json").read_text())

    def log(self, entry: str, attempt: int = 1) -> str:
        return (self.folder / "entries" / entry / "attempts" / str(attempt) / "stdout.log").read_text()

    def iterations(self, entry: str, attempt: int = 1) -> list[int]:
        return sorted(losses(self.log(entry, attempt)))

    def checkpoints(self, entry: str) -> Path:
        return self.folder / "entries" / entry / "checkpoints"


@dataclass
class Site:
    """Somebody's folder with configuration, and the variables that the experiments ask for."""

    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    def shortened(self, name: str) -> None:
        """Put an experiment into the folder, with less to train; nothing else of it is changed."""
        text = (PACKAGED / f"{name}.yaml").read_text()
        for long, short in SMALL.items():
            text = text.replace(long, short)
        (self.folder / "experiments").mkdir(exist_ok=True)
        (self.folder / "experiments" / f"{name}.yaml").write_text(text)

    def call(self, *arguments: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "oellm_bench", *arguments],
            cwd=self.folder,
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done

    def run(self, name: str, *overrides: str, code: int = 0) -> Session:
        """Run an experiment with the small model, until all of it is over."""
        given = [part for override in ("capture.interval_s=0.5", *overrides) for part in ("-o", override)]
        self.call("run", f"experiments/{name}", "-C", str(self.folder), "--fake", *given, code=code)
        return self.session()

    def session(self, name: str = "") -> Session:
        """Return the only session, or the only one of a campaign."""
        (session,) = (path.parent for path in self.folder.glob(f"**/{name}*/session.json"))
        return Session(session)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    folder = tmp_path / "my site"
    shutil.copytree(TRAINER / "config", folder)
    text = folder / "text.txt"
    text.write_text("".join(path.read_text() for path in sorted(TRAINER.glob("*.py"))))
    return Site(
        folder,
        {
            "MEGATRON_PATH": str(TRAINER),
            "CONVERT_SCRIPT": str(TRAINER / "convert.py"),
            "EVALUATE_SCRIPT": str(TRAINER / "evaluate.py"),
            "DATA_PATH": str(text),
            "TOKENIZER_MODEL": "bytes",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "USER": "me",
            "SCRATCH": str(folder / "scratch"),
            "PYTHONPATH": str(ROOT),
        },
    )
