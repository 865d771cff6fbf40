"""The head: the first node of a Ray cluster, alone or with workers to wait for."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from . import worker
from .node import RayNode, StartFailed, wait_a_moment
from .state import State

# --no-monitor: no autoscaler, which has no place in an allocation.
_ROLE = ["--head", "--port=0", "--include-dashboard=false", "--no-monitor"]


def start_head(spec: dict[str, Any], state: State, logs_path: Path) -> tuple[RayNode, str]:
    """Return a ready head and its address, ip:port, once all workers have joined.

    Tries `start_attempts` times, since a busy node may be too slow. Raises StartFailed with the reason of the
    last try, Stopped on TERM or INT.
    """
    began = time.monotonic()
    left = int(spec["ray"]["start_attempts"])
    # Several nodes are given one token by the environment they share; a single one makes its own.
    token = os.environ["RAY_AUTH_TOKEN"] if spec["nodes"] > 1 else os.urandom(32).hex()
    while True:
        head, left = RayNode(spec, _ROLE, token=token, log=Path(spec["startup_log"])), left - 1
        try:
            address = _address(head)
            state.update(address=address, cluster=worker.fingerprint(token) if spec["nodes"] > 1 else "")
            _wait_for_workers(spec, head, address)
            state.update(ready_s=round(time.monotonic() - began, 3))
            return head, address
        except BaseException as err:
            head.stop(logs_path, at_once=not isinstance(err, StartFailed))
            if left <= 0 or not isinstance(err, StartFailed):
                raise


def _address(head: RayNode) -> str:
    path = head.temp_dir / "ray_current_cluster"
    head.wait_until_ready()
    while not (path.exists() and path.stat().st_size):
        wait_a_moment()
    return path.read_text(encoding="utf-8").strip()


def _wait_for_workers(spec: dict[str, Any], head: RayNode, address: str) -> None:
    wanted = int(spec["nodes"]) - 1
    limit_s = float(spec["ray"]["startup_timeout_s"])
    deadline = time.monotonic() + limit_s
    folder = Path(spec["workers_path"])
    while (joined := worker.joined(folder, address)) < wanted:
        failed = worker.failure(folder, address)
        if failed:
            raise StartFailed(failed)
        if head.process.poll() is not None:
            raise StartFailed(f"the head ended with {head.process.returncode} while its workers were starting")
        if time.monotonic() > deadline:
            raise StartFailed(f"{joined} of {wanted} workers joined in {limit_s:g} s")
        wait_a_moment(0.2)
