"""How long does planning take, by the number of points?"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

from benchmarks.harness import Measurement, bench_argv, cpu_seconds, measurement, repeated


def measure() -> Iterator[Measurement]:
    """Yield CPU seconds of `plan`: scripts written, a dotted axis and an interpolation that follows it included."""
    yield measurement("plan 1 point", "CPU s", repeated(lambda: _plan(1)))
    yield measurement("plan 1,000 points", "CPU s", repeated(lambda: _plan(1_000)), 2.0)
    yield measurement("plan 10,000 points", "CPU s", repeated(lambda: _plan(10_000)), 10.0)
    yield measurement("plan 10,000 points as arrays", "CPU s", repeated(lambda: _plan(10_000, array=True)), 10.0)
    yield measurement("create 10,000 empty-handed files", "CPU s", repeated(_bare_files))


def _plan(points: int, *, array: bool = False) -> float:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        per_axis = round(points ** (1 / 2))
        axes = {"backend.args.lr": list(range(points // per_axis)), "n": list(range(per_axis))}
        document = {
            "defaults": ["bench", "_self_"],
            "project": {"name": "points", "base_output_dir": str(folder / "out")},
            "slurm": {"array": array},
            "backend": {
                "command": ["python", "train.py", "{n}"],
                "args": {"lr": 0, "tag": "lr-${backend.args.lr}"},
            },
            "sweep": {"axes": axes},
        }
        (folder / "points.yaml").write_text(yaml.safe_dump(document))
        argv = bench_argv("plan", "points", "-C", name, "--limit", "1")
        return cpu_seconds(argv, {"XDG_STATE_HOME": str(folder / "state")})


def _bare_files() -> float:
    """The floor under 10,000 scripts: what the file system alone takes for as many files of that size."""
    code = "import os, sys\nfor i in range(10000):\n d = os.open(f'{sys.argv[1]}/{i}', 65)\n os.write(d, b'x' * 2000)"
    with tempfile.TemporaryDirectory() as name:
        return cpu_seconds(["python3", "-c", code + "; os.close(d)", name])
