"""Which waiting jobs start now, and where: first come first served, with backfill."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

Allocation = dict[str, list[int]]  # node name -> indices of its GPUs that the job has


@dataclass(frozen=True, kw_only=True)
class Demand:
    """What a job asks of each of its `nodes`, none of them in `exclude`."""

    nodes: int = 1
    cpus: int = 1
    gpus: int = 0
    memory_bytes: int = 0
    exclusive: bool = False
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The virtual cluster: nodes that are all alike. `memory_bytes` 0: memory is not counted."""

    nodes: int
    cpus: int
    gpus: int
    memory_bytes: int

    @property
    def names(self) -> tuple[str, ...]:
        """Return the nodes' names: node1, node2, ..."""
        return tuple(f"node{number}" for number in range(1, self.nodes + 1))

    def can_ever_hold(self, demand: Demand) -> bool:
        """Tell whether the empty cluster could run this."""
        return (
            demand.nodes <= self.nodes - len({*demand.exclude}.intersection(self.names))
            and demand.cpus <= self.cpus
            and demand.gpus <= self.gpus
            and (not self.memory_bytes or demand.memory_bytes <= self.memory_bytes)
        )

    def at_most(self, demand: Demand) -> Demand:
        """Return what the empty cluster can give of this."""
        return replace(
            demand,
            nodes=min(demand.nodes, self.nodes),
            exclude=(),
            cpus=min(demand.cpus, self.cpus),
            gpus=min(demand.gpus, self.gpus),
            memory_bytes=min(demand.memory_bytes, self.memory_bytes or demand.memory_bytes),
        )


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """A job that may start as soon as there is room for it."""

    raw_id: int
    demand: Demand
    time_limit_s: float | None


@dataclass(frozen=True, kw_only=True)
class Holding:
    """A running job; `ends_at` (epoch seconds) is its limit, infinity without one."""

    demand: Demand
    allocation: Allocation
    ends_at: float


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Allocations of the jobs to start, and the reasons of those that must wait, by raw id."""

    starts: dict[int, Allocation]
    reasons: dict[int, str]


def place(
    shape: Shape, waiting: Sequence[Waiting], running: Iterable[Holding], down: Collection[str], now: float
) -> Placement:
    """Decide what starts at `now`; `waiting` in order of priority, `down` are nodes out of service.

    The first job without room reserves the nodes that become free soonest; a later job goes ahead only
    on other nodes or when its time limit ends before that.
    """
    free = _Free(shape, down)
    holdings = list(running)
    for holding in holdings:
        free.take(holding.demand, holding.allocation)
    starts: dict[int, Allocation] = {}
    reasons: dict[int, str] = {}
    reserved: tuple[float, frozenset[str]] | None = None
    for job in waiting:
        ends_at = now + (math.inf if job.time_limit_s is None else job.time_limit_s)
        allocation = _room(free, job.demand, ends_at, reserved)
        if allocation is not None:
            free.take(job.demand, allocation)
            holdings.append(Holding(demand=job.demand, allocation=allocation, ends_at=ends_at))
            starts[job.raw_id] = allocation
        elif reserved is None:
            reserved = _reservation(_Free(shape, down), job.demand, holdings)
            reasons[job.raw_id] = "Resources"
        else:
            reasons[job.raw_id] = "Priority"
    return Placement(starts=starts, reasons=reasons)


class _Free:
    """What the nodes have left."""

    def __init__(self, shape: Shape, down: Collection[str]) -> None:
        self._shape = shape
        names = [name for name in shape.names if name not in down]
        self._cpus = dict.fromkeys(names, shape.cpus)
        self._memory = dict.fromkeys(names, shape.memory_bytes or math.inf)
        self._gpus = {name: list(range(shape.gpus)) for name in names}

    def find(self, demand: Demand, avoid: Collection[str] = ()) -> Allocation | None:
        """Return the first nodes with room, or None."""
        found: Allocation = {}
        for name, cpus in self._cpus.items():
            if cpus and name not in avoid and name not in demand.exclude and self._fits(name, demand):
                found[name] = self._gpus[name][: demand.gpus]
                if len(found) == demand.nodes:
                    return found
        return None

    def take(self, demand: Demand, allocation: Allocation) -> None:
        """Occupy nodes; a node that is down is passed over."""
        for name in allocation.keys() & self._cpus.keys():
            self._cpus[name] -= self._share(demand)
            self._memory[name] -= demand.memory_bytes
            self._gpus[name] = [gpu for gpu in self._gpus[name] if gpu not in allocation[name]]

    def give_back(self, demand: Demand, allocation: Allocation) -> None:
        """Undo `take`."""
        for name in allocation.keys() & self._cpus.keys():
            self._cpus[name] += self._share(demand)
            self._memory[name] += demand.memory_bytes
            self._gpus[name] = sorted({*self._gpus[name], *allocation[name]})

    def _fits(self, name: str, demand: Demand) -> bool:
        return (
            self._cpus[name] >= self._share(demand)
            and self._memory[name] >= demand.memory_bytes
            and len(self._gpus[name]) >= demand.gpus
        )

    def _share(self, demand: Demand) -> int:
        return self._shape.cpus if demand.exclusive else demand.cpus


def _room(
    free: _Free, demand: Demand, ends_at: float, reserved: tuple[float, frozenset[str]] | None
) -> Allocation | None:
    if reserved is None:
        return free.find(demand)
    from_s, nodes = reserved
    allocation = free.find(demand, avoid=nodes)
    if allocation is None and ends_at < from_s:
        allocation = free.find(demand)
    return allocation


def _reservation(empty: _Free, demand: Demand, holdings: Iterable[Holding]) -> tuple[float, frozenset[str]]:
    """Return when, at the limits of the running jobs, which nodes will have room for `demand`."""
    staying = sorted(holdings, key=lambda holding: holding.ends_at)
    for holding in staying:
        empty.take(holding.demand, holding.allocation)
    for holding in staying:
        empty.give_back(holding.demand, holding.allocation)
        allocation = empty.find(demand)
        if allocation is not None:
            return holding.ends_at, frozenset(allocation)
    return math.inf, frozenset()  # waits for a node that is down: it holds nobody up
