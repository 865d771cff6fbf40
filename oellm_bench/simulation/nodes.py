"""Which nodes of the simulated cluster have room."""

from __future__ import annotations

import bisect
from collections.abc import Collection

from oellm_bench.simulation.settings import ClusterModel


class Nodes:
    """The free GPUs of each node. A job has the same number on each of its nodes."""

    def __init__(self, model: ClusterModel) -> None:
        self._most = model.gpus_per_node
        self._free = [model.gpus_per_node] * model.nodes
        self._open = list(range(model.nodes))  # those that have a free GPU and are up, in order
        self._down: set[int] = set()
        self._names = [f"n{number:0{len(str(model.nodes))}d}" for number in range(1, model.nodes + 1)]
        self._numbers = {name: number for number, name in enumerate(self._names)}

    def name(self, nodes: Collection[int]) -> str:
        """Return the names of nodes as SLURM lists them."""
        return ",".join(self._names[node] for node in nodes)

    def numbers(self, names: Collection[str]) -> frozenset[int]:
        """Return the nodes of these names, those the cluster does not have left out."""
        return frozenset(self._numbers[name] for name in names if name in self._numbers)

    def could_take(self, width: int, gpus: int, avoided: Collection[int]) -> bool:
        """Tell whether an empty cluster would have room for that many GPUs on that many nodes, without some of them."""
        return width <= len(self._names) - len(avoided) and gpus <= self._most

    def take(self, width: int, gpus: int, avoided: Collection[int]) -> tuple[int, ...]:
        """Take room on the first nodes that have it; empty where there is none now."""
        found: list[int] = []
        for node in self._open:
            if self._free[node] >= gpus and node not in avoided:
                found.append(node)
                if len(found) == width:
                    break
        if len(found) < width:
            return ()
        for node in found:
            self._free[node] -= gpus
            if not self._free[node]:
                self._close(node)
        return tuple(found)

    def give_back(self, nodes: Collection[int], gpus: int) -> None:
        """Give back what a job had."""
        for node in nodes:
            if not self._free[node] and node not in self._down:
                bisect.insort(self._open, node)
            self._free[node] += gpus

    def take_down(self, node: int) -> None:
        """Let a node take no more jobs until it is repaired."""
        if node not in self._down:
            self._down.add(node)
            if self._free[node]:
                self._close(node)

    def bring_up(self, node: int) -> None:
        """Let a repaired node take jobs again."""
        self._down.discard(node)
        if self._free[node]:
            bisect.insort(self._open, node)

    def _close(self, node: int) -> None:
        del self._open[bisect.bisect_left(self._open, node)]
