"""What an entry asks of the machine: nodes, time, and a Ray head of its own."""

from __future__ import annotations

from dataclasses import dataclass

from oellm_bench.core.option import option

# Given to a head that did not come up to go away, and to one that is done to stop (payload/). Seconds.
_ABANDON_S, _STOP_S = 20.0, 30.0


@dataclass(frozen=True, kw_only=True)
class Resources:
    """The allocation of one entry. `gpus` counts all of its GPUs, over all nodes."""

    nodes: int = 1
    gpus: int = 0
    walltime_s: int = 0

    @property
    def node_hours(self) -> float:
        """Return the most node-hours this can cost."""
        return self.nodes * self.walltime_s / 3600

    @property
    def gpu_hours(self) -> float:
        """Return the most GPU-hours this can cost."""
        return self.gpus * self.walltime_s / 3600


@dataclass(frozen=True, kw_only=True)
class RayHead:
    """The Ray head an entry gets for itself."""

    enabled: bool = option("start an own Ray head for each entry; the script finds it in RAY_ADDRESS", False)
    num_cpus: int = option("CPUs Ray may schedule on each node; 0: those of the allocation", 0)
    num_gpus: int = option("GPUs Ray may schedule on each node", 0)
    object_store_bytes: int = option("size of the object store; 0: as Ray chooses", 200_000_000, unit="bytes")
    object_store_share: float = option("size of the object store as a share of the memory; 0: object_store_bytes", 0.0)
    object_spilling: bool = option(
        "write objects to disk when the store fills up; without, Ray keeps what does not fit in its temporary files",
        True,
    )
    spill_dir: str = option("folder to spill to; empty: the head's folder for temporary files", "")
    startup_timeout_s: float = option("how long one start of the head may take", 90.0, unit="s")
    start_attempts: int = option("how often a head that did not come up is started", 2)
    reuse: bool = option("one head for all entries of a session run here, instead of one for each", False)
    executable: str = option("the ray command; empty: beside the job's Python, else on PATH", "")

    def start_limit_s(self, nodes: int) -> float:
        """Return how long all starts of the head, with the workers of further nodes, may take together."""
        steps = 1 if nodes == 1 else 2  # workers join when the head is up
        return max(1, self.start_attempts) * (steps * self.startup_timeout_s + _ABANDON_S)

    def overhead_s(self, nodes: int) -> float:
        """Return how long starting and stopping the head may take at the most, beside the command itself."""
        return self.start_limit_s(nodes) + _STOP_S if self.enabled else 0.0
