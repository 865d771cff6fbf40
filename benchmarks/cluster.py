"""What does one cycle of the monitor cost on a real SLURM cluster with 1,000 pending jobs?"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import yaml

from benchmarks.harness import Measurement, bench_argv, cpu_seconds, measurement
from oellm_bench.assemble import make_monitor
from oellm_bench.monitor import Monitor
from oellm_bench.schedulers import slurm_parse
from oellm_bench.session import read_session
from tests.cluster.real_slurm import running_cluster, why_no_cluster

JOBS = 1_000


def measure() -> Iterator[Measurement]:
    """Yield CPU seconds, of the monitor and of the commands it calls, and calls per cycle.

    The two commands alone are measured beside it, in alternation.
    """
    missing = why_no_cluster()
    if missing:
        sys.stderr.write(f"no row for a real cluster: {missing}\n")
        return
    with tempfile.TemporaryDirectory() as name, running_cluster() as cluster:
        environment = {**cluster.environment, "XDG_STATE_HOME": f"{name}/state"}
        os.environ.update(environment)
        monitor = make_monitor(read_session(_submitted(Path(name), environment)), {})
        monitor.step()
        commands = (slurm_parse.squeue_argv(), slurm_parse.sacct_argv(0))
        cycles, bare, calls = [], [], []
        for _ in range(5):
            made = _calls_made(monitor)
            before = _cpu_s()
            monitor.step()
            cycles.append(_cpu_s() - before)
            calls.append(float(_calls_made(monitor) - made))
            bare.append(sum(cpu_seconds(argv) for argv in commands))
    yield measurement(f"monitor cycle on SLURM, {JOBS:,} pending jobs", "CPU s", cycles, 0.3)
    yield measurement(f"scheduler calls per cycle, {JOBS:,} pending jobs", "calls", calls, 2.0)
    yield measurement("squeue and sacct alone", "CPU s", bare)
    ratios = [cycle / alone for cycle, alone in zip(cycles, bare, strict=True)]
    yield measurement("monitor cycle / squeue and sacct", "ratio", ratios)


def _submitted(folder: Path, environment: Mapping[str, str]) -> Path:
    document = {
        "defaults": ["bench", "_self_"],
        "project": {"name": "pending", "base_output_dir": str(folder / "out")},
        "slurm": {
            "client": {"class_name": "SlurmClient", "calls_per_s": 1000.0, "call_burst": 10_000},
            "sbatch": {"partition": "long", "hold": True, "mem": 100},
        },
        "sweep": {"axes": {"n": list(range(JOBS))}},
    }
    (folder / "pending.yaml").write_text(yaml.safe_dump(document))
    argv = bench_argv("submit", "pending", "-C", str(folder))
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL, env={**os.environ, **environment})
    (session,) = (path.parent for path in (folder / "out").glob("*/session.json"))
    return session


def _calls_made(monitor: Monitor) -> int:
    budget = monitor.scheduler.budget()
    assert budget is not None
    return budget.made


def _cpu_s() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
