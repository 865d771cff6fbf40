"""Run a command with a Ray of its own, on the node that we are on: the first of them or another."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

from . import processes, worker
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
    """Start the head, run the command, stop the head; return the exit code."""
    state = State(Path(spec["state_path"]))
    logs_path = Path(spec["logs_path"])
    try:
        head, address = start_head(spec, state, logs_path)
    except StartFailed as err:
        state.update(failure="ray_start_failed", message=f"the Ray head did not start: {err}")
        processes.say(f"the Ray head did not start: {err}")
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
    return 128 - returncode if returncode < 0 else returncode
