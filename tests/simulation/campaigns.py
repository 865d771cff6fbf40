"""Plans and clusters for simulations, without a configuration on disk; signatures and policies are the packaged."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import yaml

from oellm_bench.builtins import load_all
from oellm_bench.config.typing import parse
from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.core.resources import Resources
from oellm_bench.monitoring.settings import MonitoringConfig
from oellm_bench.restart.settings import RestartConfig
from oellm_bench.simulation.figures import Figures, figures
from oellm_bench.simulation.run import Simulation, begin
from oellm_bench.simulation.settings import SimulationConfig

MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
CONFIG = Path(__file__).resolve().parents[2] / "config"
PACKAGED_SIGNATURES = yaml.safe_load((CONFIG / "monitoring" / "default.yaml").read_text())["signatures"]
SIGNATURES = {name: PACKAGED_SIGNATURES[name] for name in ("gpu_xid", "nccl_error", "loss_is_nan")}
PACKAGED = yaml.safe_load((CONFIG / "restart" / "default.yaml").read_text())

load_all()


def watch(restart: Mapping[str, Any] = PACKAGED, **monitoring: Any) -> dict[str, Any]:
    """Return settings as a plan holds them."""
    return {
        "monitoring": asdict(parse(MonitoringConfig, {"signatures": SIGNATURES, **monitoring}, "monitoring")),
        "restart": asdict(parse(RestartConfig, restart, "restart")),
    }


def always(retries: int, *modes: str) -> list[dict[str, Any]]:
    policy = {"class_name": "AlwaysRestartPolicy", "max_retries": retries}
    return [{"mode": mode, "implementation": policy} for mode in modes]


def plan(entries: int, settings: Mapping[str, Any] | None = None, **values: Any) -> Plan:
    """Return a plan of like entries of one GPU each; `values` are fields of all of them."""
    planned = [
        PlannedEntry(
            index=number,
            id=f"entry{number:03d}",
            name=f"e{number}",
            parameters={},
            argv=("true",),
            timeout_s=14400,
            script=f"scripts/e{number}.sbatch",
            resources=Resources(nodes=1, gpus=1, walltime_s=14520),
            memory="mem=8G",
        )
        for number in range(entries)
    ]
    chosen = tuple(replace(entry, **values) for entry in planned)
    return Plan(project="p", fingerprint="f", entries=chosen, watch=(settings or watch(),))


def model(**sections: Mapping[str, Any]) -> SimulationConfig:
    """Return a cluster on which nothing goes wrong but what is named."""
    jobs = {"work_spread": 0.0, **sections.pop("jobs", {})}
    return parse(SimulationConfig, {**sections, "jobs": jobs}, "simulation")


def simulated(
    folder: Path, campaign: Plan, config: SimulationConfig, *, seed: int = 1, interval_s: float = 60
) -> tuple[Simulation, Figures]:
    """Run a campaign to its end."""
    simulation = begin(campaign, config, folder, seed=seed)
    monitor = simulation.run(interval_s)
    lasted_s = simulation.clock.now() - simulation.began_at
    cluster = simulation.cluster
    return simulation, figures(cluster.runs, monitor.store.state, lasted_s=lasted_s, calls=cluster.calls)


def causes(simulation: Simulation) -> Sequence[str]:
    return [job.cause for job in simulation.cluster.runs]
