from __future__ import annotations

import pytest

from tests.matrix.matrices import MatrixFolder


@pytest.fixture
def matrix(tmp_path) -> MatrixFolder:
    folder = MatrixFolder(tmp_path / "benchmarking")
    folder.script("bench")
    return folder
