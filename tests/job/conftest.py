from __future__ import annotations

import contextlib
import os
import signal
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.job.live_job import Job, processes_with
from tests.job.stand_in_ray import stand_in

__all__ = ["stand_in"]


@pytest.fixture
def make_job(tmp_path: Path) -> Iterator[Callable[[str], Job]]:
    """Make sessions in a path with a space and a quote; what they leave running fails the test."""
    mark = f"mark-{uuid.uuid4().hex}"
    yield lambda name: Job(tmp_path / "it's a place" / name, mark)
    left = processes_with(mark)
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert not left, "processes were left running"


@pytest.fixture
def job(make_job: Callable[[str], Job]) -> Job:
    return make_job("session")
