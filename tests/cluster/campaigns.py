"""What campaigns on a real cluster are made of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from tests.cluster.real_slurm import Cluster


def shell(line: str) -> dict[str, str]:
    """Return a backend that runs a line."""
    return {"class_name": "CommandBackend", "command": line}


def first_time_only(line: str) -> dict[str, str]:
    """Return a backend that does something in the first attempt only, and succeeds afterwards."""
    return shell(f'[ "$OELLM_BENCH_ATTEMPT" -ge 2 ] || {line}')


def restarted_after(mode: str) -> list[dict[str, Any]]:
    """Return policies that restart after one error mode."""
    return [{"mode": mode, "implementation": {"class_name": "AlwaysRestartPolicy", "max_retries": 2}}]


@contextlib.contextmanager
def node_down(cluster: Cluster, node: str) -> Iterator[None]:
    """Keep a node down for the length of the block."""
    cluster.command("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    try:
        yield
    finally:
        cluster.command("scontrol", "update", f"NodeName={node}", "State=RESUME", check=False)
