"""What `simulate` assumes of a cluster, of the jobs on it, and of what goes wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from oellm_bench.core.option import option
from oellm_bench.errors import Problem


@dataclass(frozen=True, kw_only=True)
class ClusterModel:
    """The nodes, and what one user may have of them."""

    nodes: int = option("nodes of the cluster", 64)
    gpus_per_node: int = option("GPUs of each node; an entry that asks for none gets whole nodes", 4)
    bad_share: float = option("share of nodes that are bad", 0.0)
    bad_factor: float = option("how many times as often things go wrong on a bad node (per_node_hour)", 30.0)
    repair_s: float = option("how long a node that failed takes no jobs", 600.0, unit="s")
    most_memory: float = option("how many times the memory that an entry asks for a node has; more is refused", 4.0)
    max_submit: int | None = option("jobs and tasks that may be unfinished at once; null: any number", None)
    max_array_size: int = option("array indices are below this", 1001)


@dataclass(frozen=True, kw_only=True)
class JobModel:
    """What an entry needs, and what it keeps of an attempt that failed."""

    work_s: float = option("useful work of an entry: median of a log-normal distribution", 3600.0, unit="s")
    work_spread: float = option("standard deviation of the logarithm of that; 0: all need the same", 0.3)
    work_most_s: float = option("useful work of an entry at the most; 0: any", 0.0, unit="s")
    startup_s: float = option("time before the useful work of each attempt", 60.0, unit="s")
    checkpoint_s: float = option("useful work between two checkpoints; 0: none is written", 900.0, unit="s")
    resume: bool = option("whether a restart goes on from the last checkpoint", True)
    output_s: float = option("time between two lines in the log, where monitoring looks for silence", 600.0, unit="s")
    memory_need: float = option("memory an entry needs, as a multiple of what it asks for: median", 0.5)
    memory_spread: float = option("standard deviation of the logarithm of that", 0.0)
    broken_share: float = option("share of entries that crash at one place of their work, however often", 0.0)


@dataclass(frozen=True, kw_only=True)
class NodeRates:
    """Failures for each hour of each node that a job runs on."""

    node_fail: float = option("the node is lost", 0.0, unit="1/h")
    gpu_fault: float = option("a GPU falls out: an Xid in the log", 0.0, unit="1/h")


@dataclass(frozen=True, kw_only=True)
class JobRates:
    """Failures for each hour that a job runs."""

    preempted: float = option("the scheduler takes the nodes for others", 0.0, unit="1/h")
    nccl: float = option("a collective operation fails", 0.0, unit="1/h")
    oom: float = option("more memory than there is, whatever was asked for", 0.0, unit="1/h")
    crash: float = option("an exception", 0.0, unit="1/h")
    nan: float = option("the loss is NaN", 0.0, unit="1/h")
    stall: float = option("nothing happens any more until somebody or a time limit ends it", 0.0, unit="1/h")


@dataclass(frozen=True, kw_only=True)
class ControllerModel:
    """How far the scheduler's answers can be relied on."""

    accounting_lag_s: float = option("how far accounting is behind", 10.0, unit="s")
    min_job_age_s: float = option("how long the queue lists a job that has ended", 300.0, unit="s")
    unclear_share: float = option("share of submissions without a clear answer; half of their jobs exist", 0.0)
    late_s: float = option("how much later a job of those may turn up", 45.0, unit="s")
    outages_per_day: float = option("times a day that the controller falls silent", 0.0)
    outage_s: float = option("how long it is silent", 300.0, unit="s")


@dataclass(frozen=True, kw_only=True)
class SimulationConfig:
    """What `simulate` runs a campaign on."""

    cluster: ClusterModel = option("the cluster", factory=ClusterModel)
    jobs: JobModel = option("the jobs", factory=JobModel)
    per_node_hour: NodeRates = option("failures for each hour of each node", factory=NodeRates)
    per_job_hour: JobRates = option("failures for each hour of a job", factory=JobRates)
    controller: ControllerModel = option("the scheduler's answers", factory=ControllerModel)


_ABOVE_ZERO = frozenset(
    "nodes gpus_per_node bad_factor most_memory max_submit max_array_size work_s output_s memory_need".split()
)
# Beyond these a simulation takes longer than anyone waits, or its numbers overflow.
_MOST = {"nodes": 100_000, "gpus_per_node": 1024, "work_spread": 10, "memory_spread": 10, "outages_per_day": 1440}
_LEAST = {"output_s": 1}
_SHARES = frozenset("bad_share broken_share unclear_share".split())


def simulation_problems(config: SimulationConfig) -> Iterator[Problem]:
    """Yield what is wrong with the numbers; `where` of a problem is its dotted key."""
    for section in fields(config):
        part = getattr(config, section.name)
        for item in fields(part):
            value = getattr(part, item.name)
            bound = _missed(item.name, value)
            if bound:
                where = f"simulation.{section.name}.{item.name}"
                yield Problem(what=f"{value} cannot work", where=where, fix=f"give a number {bound}")


def _missed(name: str, value: Any) -> str:
    """Return the bound that a value does not keep to, empty where it does."""
    if value is None or isinstance(value, bool):
        return ""
    if name in _SHARES:
        return "" if 0 <= value <= 1 else "from 0 to 1"
    if value > _MOST.get(name, math.inf):
        return f"up to {_MOST[name]}"
    if value < _LEAST.get(name, -math.inf):
        return f"from {_LEAST[name]}"
    if name in _ABOVE_ZERO:
        return "" if 0 < value < math.inf else "above 0"
    return "" if 0 <= value < math.inf else "0 or more"
