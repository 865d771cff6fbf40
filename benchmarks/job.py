"""What does the runner add to a command inside a job?"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from benchmarks.harness import Measurement, cpu_seconds, measurement, repeated, run_entry_argv
from oellm_bench.core.resources import RayHead

SECONDS = 2  # of the command; longer than all that the runner does at its start
# What the payload wants to see of a head; Ray's own memory is not the runner's.
STAND_IN = """#!/bin/sh
for argument in "$@"; do case "$argument" in --temp-dir=*) folder="${argument#*=}";; esac; done
printf 192.0.2.1:6400 > "$folder/ray_current_cluster"
echo "Ray runtime started."
exec sleep 60
"""


def measure() -> Iterator[Measurement]:
    """Yield CPU seconds of run_entry around `true`, and its memory around `sleep`, with all it starts itself."""
    yield measurement("run_entry around `true`, with its observer", "CPU s", repeated(_run_entry), 0.3)
    runs = [_memory_mb(RayHead()) for _ in range(3)]
    yield measurement("run_entry and observer, at most", "MB", list(map(max, runs)), 40)
    with tempfile.TemporaryDirectory() as name:
        program = Path(name) / "ray"
        program.write_text(STAND_IN)
        program.chmod(0o755)
        runs = [_memory_mb(RayHead(enabled=True, executable=str(program))) for _ in range(3)]
    yield measurement("the same and the payload beside a Ray head", "MB", [run[-1] for run in runs], 40)
    yield measurement("the same while packages are listed", "MB", list(map(max, runs)))


def _run_entry() -> float:
    # As in a job that has activated its environment: modules are compiled, and python3 is no wrapper of a version
    # manager, which may take as long to find it as all of this.
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    with tempfile.TemporaryDirectory() as name:
        argv = run_entry_argv(Path(name), ("true",))
        return cpu_seconds(argv, {"PYTHONDONTWRITEBYTECODE": "", "PATH": path})


def _memory_mb(ray: RayHead) -> list[float]:
    """Return what the runner holds at each look, from the first to the last while the command runs."""
    found = []
    with tempfile.TemporaryDirectory() as name:
        process = subprocess.Popen(run_entry_argv(Path(name), ("sleep", str(SECONDS)), ray), stdout=subprocess.DEVNULL)
        runner = psutil.Process(process.pid)
        while process.poll() is None:
            with contextlib.suppress(psutil.Error):
                members = [runner, *runner.children(recursive=True)]
                if any(member.name() == "sleep" for member in members):
                    found.append(_together_mb([member for member in members if member.name().startswith("python")]))
            time.sleep(0.02)
    if process.returncode != 0:
        raise RuntimeError(f"run_entry exited with {process.returncode}")
    return found


def _together_mb(members: list[psutil.Process]) -> float:
    """Return what these would hold were they alone: pages of their own, and one copy of those of files.

    The PSS of a file's page falls with every other Python on the machine, and RSS counts it in each process.
    """
    own, of_files = 0, [0]
    for member in members:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{member.pid}/smaps_rollup").read_text().splitlines()[1:]
            kib = {line.partition(":")[0]: int(line.split()[1]) for line in lines}
            own += kib["Anonymous"]
            of_files.append(kib["Rss"] - kib["Anonymous"])
    return (own + max(of_files)) * 1024 / 1e6
