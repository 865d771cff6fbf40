"""A command that stands in for `ray`, and how to see what became of the heads that it was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from oellm_bench.core.resources import RayHead

# Behaves like `ray start --head --block` as far as anyone outside can see: a daemon, logs, an address.
HEAD = """
for argument in "$@"; do case "$argument" in --temp-dir=*) folder="${argument#*=}";; esac; done
echo "$@" >> "$0.starts"
mkdir -p "$folder/session_2026-01-01_00-00-00_000000_1/logs"
echo text > "$folder/session_2026-01-01_00-00-00_000000_1/logs/raylet.out"
setsid sleep 600 &
printf 192.0.2.1:6400 > "$folder/ray_current_cluster"
echo "Ray runtime started."
"""
SCRIPT = """
import os, signal, sys, time
signal.signal(signal.SIGUSR1, lambda *_: print("usr1", flush=True))
signal.signal(signal.SIGTERM, lambda *_: sys.exit("saved"))
print("up", flush=True)
while True:
    time.sleep(0.05)
"""


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[..., RayHead]:
    """Make a `ray` command that runs the given shell lines."""

    def make(script: str, **settings: Any) -> RayHead:
        program = tmp_path / "bin" / "ray"
        program.parent.mkdir()
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        return RayHead(enabled=True, executable=str(program), **settings)

    return make


def starts(head: RayHead) -> list[str]:
    return Path(f"{head.executable}.starts").read_text().splitlines()


def temp_dir(head: RayHead) -> Path:
    (argument,) = [word for word in starts(head)[-1].split() if word.startswith("--temp-dir=")]
    return Path(argument.removeprefix("--temp-dir="))
