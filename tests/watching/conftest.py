"""Sessions on a scripted cluster, and whole campaigns."""

from __future__ import annotations

from tests.races.conftest import cluster, watch
from tests.system.conftest import campaign

__all__ = ["campaign", "cluster", "watch"]
