"""The program in the archive: `payload.pyz ray SPEC.json -- COMMAND...` and `payload.pyz packages`.

SPEC.json: `{"ray": {executable, num_cpus, num_gpus, object_store_bytes, object_spilling, spill_dir,
startup_timeout_s, start_attempts}, "nodes": N, "startup_log": PATH, "logs_path": FOLDER, "state_path": PATH,
"workers_path": FOLDER}`. With several nodes one of these programs runs on each; SLURM_NODEID tells them apart.

The command finds the head in RAY_ADDRESS. Its exit code is ours (128+n for signal n, 127 where it cannot be
started); 90: the head did not come up. `state_path` tells the same and more in JSON (`State`). TERM and INT
are passed on as TERM, then KILL after a grace time; USR1 and USR2 reach whoever handles them.
"""

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


def main(arguments: list[str]) -> int:
    """Do what the first argument says; return the exit code."""
    if arguments == ["packages"]:
        from . import packages  # not above: half of what this program takes to start, and a head needs none of it

        return packages.main()
    if len(arguments) < 4 or arguments[0] != "ray" or arguments[2] != "--":
        processes.say("usage: payload.pyz ray SPEC.json -- COMMAND... | payload.pyz packages")
        return 2
    spec = json.loads(Path(arguments[1]).read_text(encoding="utf-8"))
    processes.prepare()
    if spec["nodes"] == 1:
        return _first_node(spec, arguments[3:])
    if os.environ.get("SLURM_LOCALID", "0") != "0":
        processes.say("one Ray is enough on a node: this further task of srun has nothing to do")
        return 0
    place = int(os.environ["SLURM_NODEID"])
    return worker.main(spec, place) if place else _first_node(spec, arguments[3:])


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
