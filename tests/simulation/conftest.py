"""Folders in memory: a simulated campaign has thousands of small files, and waits for each line of its journal."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.simulation.campaigns import MEMORY


@pytest.fixture
def tmp_path():
    with tempfile.TemporaryDirectory(prefix="it's simulated ", dir=MEMORY) as name:
        yield Path(name)
