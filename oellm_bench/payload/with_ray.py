"""Run a command with a Ray of its own, on the node that we are on: the first of them or another."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from . import processes, shared, worker
from .beside import run_command
from .head import start_head
from .node import StartFailed, Stopped
from .state import State

EXIT_RAY_START_FAILED = 90


def main(spec_path: str, command: list[str]) -> int:
    """Do this node's part; return the exit code."""
    spec = json.loads(Path(spec_path).read_text(encoding="utf-8"))
    processes.prepare()
    if spec["nodes"] == 1:
        return _first_node(spec, command)
    if os.environ.get("SLURM_LOCALID", "0") != "0":
        processes.say("one Ray is enough on a node: this further task of srun has nothing to do")
        return 0
    place = int(os.environ["SLURM_NODEID"])
    return worker.main(spec, place) if place else _first_node(spec, command)


def _first_node(spec: dict[str, Any], command: list[str]) -> int:
    """Start the head, run the command, stop the head; return the exit code.

    Where the session has a head for all of its entries that one is used; an own one where nobody keeps it any more.
    """
    state = State(Path(spec["state_path"]))
    logs_path = Path(spec["logs_path"])
    try:
        lent = shared.borrow(Path(spec["shared_socket"])) if spec.get("shared_socket") else None
        if lent is not None:
            return _with_lent(lent, command, state)
        if spec.get("shared_socket"):
            processes.say("nobody keeps the Ray head of the session any more: this entry starts its own")
        head, address = start_head(spec, state, logs_path)
    except StartFailed as err:
        reason = f"the Ray head did not start: {err}"
        state.update(failure="ray_start_failed", message=reason)
        processes.say(reason)
        return EXIT_RAY_START_FAILED
    except Stopped:
        state.update(failure="cancelled", message="stopped while the Ray head was starting")
        return 128 + signal.SIGTERM
    stopped = True
    try:
        returncode, stopped = run_command(command, head, address, state)
    finally:
        began = time.monotonic()
        head.stop(logs_path, at_once=stopped)
        state.update(stop_s=round(time.monotonic() - began, 3))
    return _exit_code(returncode)


def _with_lent(head: shared.LentHead, command: list[str], state: State) -> int:
    """Run the command beside the session's head, which stays; return the exit code."""
    state.update(address=head.address, shared=True)
    try:
        returncode, _ = run_command(command, head, head.address, state)
    finally:
        head.give_back()
    return _exit_code(returncode)


def _exit_code(returncode: int) -> int:
    return 128 - returncode if returncode < 0 else returncode
