"""What every test may use: a state folder of its own, a campaign in an awkward folder, the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from oellm_bench.config.compose import compose_variants
from oellm_bench.config.project import configured_points
from oellm_bench.config.schema import Project
from oellm_bench.config.variant import Composition
from oellm_bench.core.plan import PlannedEntry
from oellm_bench.errors import ConfigError
from oellm_bench.planning import Campaign, plan_campaign
from tests.cluster.real_slurm import Cluster, running_cluster
from tests.sinks.services import MlflowServer

ROOT = Path(__file__).resolve().parents[1]
CLI_TIMEOUT_S = 60


@dataclass
class CampaignFolder:
    """A folder with YAML files; the root file is `my.yaml`."""

    folder: Path
    out: Path

    def write(self, text: str, name: str = "my") -> CampaignFolder:
        """Write a file; the path may hold a group, e.g. `slurm/juwels`."""
        path = self.folder / f"{name}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
        return self

    def root(self, text: str = "", *, sweep: str = "") -> CampaignFolder:
        """Write `my.yaml` on the packaged root, with a name and a command, then `text`, then a sweep."""
        parts = {
            "project": "project: {name: my}\n",
            "backend": "backend: {class_name: CommandBackend, command: [echo, hello]}\n",
        }
        body = dedent(text).lstrip("\n")
        given = "".join(part for key, part in parts.items() if not f"\n{body}".count(f"\n{key}:"))
        swept = f"sweep:\n{indented(sweep)}" if sweep else ""
        own = f"{body.rstrip()}\n" if body else ""
        return self.write(f"defaults: [bench, _self_]\n{given}{own}{swept}")

    def compose(self, *overrides: str, config: str = "my") -> Composition:
        return compose_variants(config, self.folder, overrides)

    def project(self, *overrides: str, config: str = "my") -> Project:
        """Return the typed configuration of the only point."""
        (point,) = configured_points(self.compose(*overrides, config=config))
        return point.project

    def plan(self, *overrides: str, config: str = "my", previous: Mapping[str, int] | None = None) -> Campaign:
        return plan_campaign(self.compose(*overrides, config=config), self.out, previous)

    def entries(self, *overrides: str) -> tuple[PlannedEntry, ...]:
        return self.plan(*overrides).plan.entries

    def entry(self, *overrides: str) -> PlannedEntry:
        (entry,) = self.entries(*overrides)
        return entry

    def problems(self, *overrides: str, config: str = "my") -> list[str]:
        """Return the problems for which this campaign is refused."""
        with pytest.raises(ConfigError) as caught:
            self.plan(*overrides, config=config)
        return [str(problem) for problem in caught.value.problems]

    def problem(self, *overrides: str, config: str = "my") -> str:
        """Return the only problem for which this campaign is refused."""
        (problem,) = self.problems(*overrides, config=config)
        return problem


@dataclass(frozen=True)
class Ran:
    """How a command line ended."""

    rc: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


class CommandLine:
    """Runs `oellm-bench` as a user does: another process, another folder."""

    def __init__(self, cwd: Path) -> None:
        self.cwd = cwd

    def __call__(self, *arguments: str | Path, env: Mapping[str, str] | None = None) -> Ran:
        return self.python("-m", "oellm_bench", *map(str, arguments), env=env)

    def python(self, *arguments: str, env: Mapping[str, str] | None = None) -> Ran:
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=self.cwd,
            env={**os.environ, **(env or {})},
            capture_output=True,
            text=True,
            timeout=CLI_TIMEOUT_S,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)


def indented(text: str) -> str:
    lines = dedent(text).strip("\n").splitlines()
    return "".join(f"  {line}\n" for line in lines)


@pytest.fixture(autouse=True)
def state_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the list of sessions out of the user's home."""
    folder = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("XDG_STATE_HOME", str(folder))
    return folder


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[Cluster]:
    """A real cluster with accounting; one for all tests of the group `slurm`."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    """A real MLflow server; one for all tests of a worker."""
    with MlflowServer(tmp_path_factory.mktemp("mlflow")).open() as server:
        yield server


@pytest.fixture
def campaign(tmp_path: Path) -> CampaignFolder:
    folder = tmp_path / 'a user\'s "campaign"'
    folder.mkdir()
    return CampaignFolder(folder, tmp_path / "it's out")


@pytest.fixture
def cli(tmp_path: Path) -> CommandLine:
    folder = tmp_path / 'it\'s a "work" folder'
    folder.mkdir(exist_ok=True)
    return CommandLine(folder)
