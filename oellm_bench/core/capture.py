"""What is recorded of an entry while it runs."""

from __future__ import annotations

from dataclasses import dataclass

from oellm_bench.core.option import option


@dataclass(frozen=True, kw_only=True)
class Capture:
    """How an entry is watched from beside, on its own node."""

    enabled: bool = option("record environment, resources and a heartbeat of each attempt", True)
    interval_s: float = option("time between two heartbeats and samples of CPU, memory, I/O and GPUs", 5.0, unit="s")
    packages: bool = option("list what is installed for the command's Python", True)
    stacks: bool = option("save the stacks of its Python processes before a time limit or a stall ends it", True)
