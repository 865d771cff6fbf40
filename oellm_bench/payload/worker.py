"""A worker: what every node of a multi-node entry runs, but for the first.

It finds the head's address in the state file that all nodes share, joins, says so in a file of its own, and ends
when the command has ended. Its exit code is 0 whatever happens: srun reports the highest of all nodes, and that
has to be the command's.
"""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path
from typing import Any

from . import processes
from .node import RayNode, StartFailed, Stopped, wait_a_moment
from .state import read

_LOOK_S = 0.5  # how often to look at the shared file, for the head's address and for the end


def fingerprint(token: str) -> str:
    """Return what tells one run's state file from another's without telling the token."""
    import hashlib  # not above: it brings OpenSSL into memory, and most entries have one node

    return hashlib.sha256(token.encode()).hexdigest()[:16]


def joined(folder: Path, address: str) -> int:
    """Return how many workers have joined the head at that address."""
    return sum(_text(path) == address for path in folder.glob("*.joined"))


def failure(folder: Path, address: str) -> str:
    """Return why a worker could not join the head at that address, empty where none has failed."""
    for path in folder.glob("*.failed"):
        at, _, reason = _text(path).partition("\n")
        if at == address:
            return reason
    return ""


def main(spec: dict[str, Any], place: int) -> int:
    """Join the head, and stay until the command has ended."""
    try:
        address = ""
        while address := _next_address(spec, address):
            _serve(spec, place, address)
    except Stopped:
        pass
    return 0


def _serve(spec: dict[str, Any], place: int, address: str) -> None:
    """Be a worker of the head at that address as long as it is the one."""
    folder = Path(spec["workers_path"])
    role = [f"--address={address}"]
    log, logs_path = folder / f"{place}.log", Path(spec["logs_path"]) / f"node-{place}"
    left = int(spec["ray"]["start_attempts"])
    while left > 0:
        left -= 1
        try:
            node = RayNode(spec, role, token=os.environ["RAY_AUTH_TOKEN"], log=log)
        except StartFailed as err:
            _tell(folder / f"{place}.failed", f"{address}\nthe worker on {socket.gethostname()}: {err}")
            return
        try:
            node.wait_until_ready()
            _tell(folder / f"{place}.joined", address)
            _stay(spec, node, address)
            return
        except StartFailed as err:
            if left <= 0:
                _tell(folder / f"{place}.failed", f"{address}\nthe worker on {socket.gethostname()}: {err}")
        finally:
            node.stop(logs_path, at_once=True)


def _stay(spec: dict[str, Any], node: RayNode, address: str) -> None:
    while _address(read(Path(spec["state_path"]))) == address:
        wait_a_moment(_LOOK_S)
        processes.reap(node.process)
        if node.process.returncode is not None:
            processes.say(f"the Ray worker on {socket.gethostname()} ended with {node.process.returncode}")
            return


def _next_address(spec: dict[str, Any], last: str) -> str:
    """Return the address of a head that is not `last`; empty once there will be none."""
    limit_s = int(spec["ray"]["start_attempts"]) * (2 * float(spec["ray"]["startup_timeout_s"]) + 20)
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        state = read(Path(spec["state_path"]))
        address = _address(state)
        if address and address != last:
            return address
        if _is_ours(state) and _is_over(state):
            return ""
        wait_a_moment(_LOOK_S)
    return ""


def _address(state: dict[str, Any]) -> str:
    """Return where the head is now, empty where there is none of this run."""
    return str(state.get("address", "")) if _is_ours(state) and not _is_over(state) else ""


def _is_ours(state: dict[str, Any]) -> bool:
    """Tell whether the file is of this run: an earlier one's may be seen for a while on a shared file system."""
    return state.get("cluster") == fingerprint(os.environ["RAY_AUTH_TOKEN"])


def _is_over(state: dict[str, Any]) -> bool:
    return bool(state.get("failure")) or "command_ended_at" in state


def _tell(path: Path, text: str) -> None:
    part = path.with_suffix(".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return ""
