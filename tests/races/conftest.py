"""Where the races are run: on scripted commands, in whole campaigns, in jobs of their own, on a real cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from oellm_bench.clock import ManualClock
from oellm_bench.session_writing import write_session
from tests.conftest import CampaignFolder
from tests.job.conftest import job, make_job, stand_in
from tests.races.scripted import BEGUN, Cluster, Watched
from tests.system.conftest import campaign, real

__all__ = ["campaign", "job", "make_job", "real", "stand_in"]


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    """Commands of SLURM that say what the test wants, and are found first."""
    made = Cluster(tmp_path / "cluster")
    monkeypatch.setenv("PATH", f"{made.bin}:{os.environ['PATH']}")
    return made


@pytest.fixture
def watch(tmp_path: Path, cluster: Cluster) -> Iterator[Callable[..., Watched]]:
    """Plan a session and return it with its monitor; `sections` are those of the configuration."""
    folder, watched = tmp_path / 'a user\'s "campaign"', []

    def make(*, sweep: list[Any] | None = None, **sections: Any) -> Watched:
        folder.mkdir()
        planned = CampaignFolder(folder, tmp_path / "it's out" / "my_1")
        document = {"project": {"name": "my", "base_output_dir": str(tmp_path / "it's out")}, **sections}
        document["slurm"] = {"client": {"class_name": "SlurmClient"}, **sections.get("slurm", {})}
        if sweep is not None:
            document["sweep"] = {"axes": {"n": sweep}}
        planned.root(yaml.safe_dump(document))
        clock = ManualClock(BEGUN)
        session = write_session(planned.plan(), planned.out, "00000001", clock)
        watched.append(Watched(session, cluster, clock))
        return watched[-1]

    yield make
    for subject in watched:
        subject.monitor.close()
