"""Which nodes a campaign's failures speak against: pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from oellm_bench.core.hostlist import node_names
from oellm_bench.core.option import option
from oellm_bench.core.result import ErrorMode

# What speaks of the hardware counts in full, what may be the network's or another node's by half.
_WEIGHTS = {ErrorMode.NODE_FAIL: 1.0, ErrorMode.GPU_FAULT: 1.0, ErrorMode.NCCL: 0.5, ErrorMode.STALL: 0.5}


@dataclass(frozen=True, kw_only=True)
class BadNodes:
    """When a node is one to avoid. A failure of a job on several nodes speaks against each of them by its share."""

    threshold: float = option("evidence from which on a node is avoided; a node failure or a GPU fault counts 1", 1.0)
    half_life_s: float = option("time in which evidence loses half its weight", 86400.0, unit="s")
    most: int = option("nodes avoided at once; those with the most evidence", 4)
    most_share: float = option("share of the largest partition's nodes that is avoided at once; one always may be", 0.1)


@dataclass(frozen=True, kw_only=True)
class NodeFailure:
    """An attempt that ended badly, and where."""

    mode: ErrorMode
    nodes: str
    at: float


def speaks_of_nodes(mode: ErrorMode | None) -> bool:
    """Tell whether an attempt that ended so is evidence against its nodes."""
    return mode in _WEIGHTS


def bad_nodes(
    failures: Iterable[NodeFailure], settings: BadNodes, now: float, cluster_nodes: int | None = None
) -> tuple[str, ...]:
    """Return the nodes to avoid now, by name; `cluster_nodes`: how many there are, where that is known."""
    given: dict[str, float] = defaultdict(float)
    left: dict[str, float] = defaultdict(float)
    for failure in failures:
        names = list(node_names(failure.nodes))
        for name in names:
            share = _WEIGHTS.get(failure.mode, 0.0) / len(names)
            given[name] += share
            left[name] += share * 0.5 ** (max(0.0, now - failure.at) / settings.half_life_s)
    # Evidence fades from its first second on: a node is let in again when half of what is needed is left.
    suspects = [name for name in given if given[name] >= settings.threshold and left[name] >= settings.threshold / 2]
    share = settings.most if cluster_nodes is None else max(1, int(settings.most_share * cluster_nodes))
    most = min(settings.most, share)
    worst = sorted(suspects, key=lambda name: (-left[name], name))[:most]
    return tuple(sorted(worst))
