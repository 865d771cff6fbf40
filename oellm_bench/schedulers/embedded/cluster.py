"""What the virtual cluster is like; kept in the database, so that the controller knows it too."""

from __future__ import annotations

import os
from dataclasses import dataclass

from oellm_bench.schedulers.embedded.placement import Shape


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The settings of FakeSlurmConfig that the controller and a submission need; units as there."""

    nodes: int
    cpus_per_node: int
    gpus_per_node: int
    memory_per_node_bytes: int
    kill_wait_s: float
    requeue: bool
    requeue_delay_s: float
    default_time_s: int | None
    max_array_size: int
    max_submit: int | None
    shrink: bool = False

    @property
    def shape(self) -> Shape:
        """Return the nodes."""
        return Shape(
            nodes=self.nodes,
            cpus=self.cpus_per_node or os.cpu_count() or 1,
            gpus=self.gpus_per_node,
            memory_bytes=self.memory_per_node_bytes,
        )
