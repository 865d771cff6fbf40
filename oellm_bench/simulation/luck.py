"""The dice of a simulation: what is drawn depends on the seed and on whose draw it is, never on when it is asked.

So two policies meet the same failures (common random numbers), and differ only by what they make of them.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from oellm_bench.simulation.settings import ClusterModel, ControllerModel, JobModel

# In this order they are drawn; a new one goes to the end, so that the others keep their numbers.
CAUSES = ("node_fail", "gpu_fault", "preempted", "nccl", "oom", "crash", "nan", "stall")
_DAY_S = 86400.0


@dataclass(frozen=True, kw_only=True)
class Need:
    """What an entry needs: `work_s` of useful work, `memory` times what it asks for once it is at `peak_s` of it.

    `broken_s`: the place in its work at which it crashes however often it is tried, None for an entry that is sound.
    """

    work_s: float
    memory: float
    peak_s: float
    broken_s: float | None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What becomes of one call: whether its answer is lost, whether it has its effect then, and how much later."""

    is_lost: bool
    arrives: bool
    late_s: float


def need(seed: int, entry: str, model: JobModel) -> Need:
    """Draw what the entry of that name needs."""
    dice = _dice(seed, "entry", entry)
    work_s = model.work_s * dice.lognormvariate(0.0, model.work_spread)
    if model.work_most_s:
        work_s = min(work_s, model.work_most_s)
    memory = model.memory_need * dice.lognormvariate(0.0, model.memory_spread)
    peak_s, broken_s = dice.random() * work_s, dice.random() * work_s
    is_broken = dice.random() < model.broken_share
    return Need(work_s=work_s, memory=memory, peak_s=peak_s, broken_s=broken_s if is_broken else None)


def hazards(seed: int, entry: str, run: int) -> dict[str, float]:
    """Draw how much of each cause the `run`-th run of an entry withstands: hours times failures an hour, exponential
    with mean 1.
    """
    dice = _dice(seed, "run", entry, run)
    return {cause: dice.expovariate(1.0) for cause in CAUSES}


def answer(seed: int, token: str, trial: int, model: ControllerModel) -> Answer:
    """Draw what becomes of the call that is made under this name for the `trial`-th time."""
    dice = _dice(seed, "answer", token, trial)
    is_lost = dice.random() < model.unclear_share
    return Answer(is_lost=is_lost, arrives=not is_lost or dice.random() < 0.5, late_s=dice.random() * model.late_s)


def bad_nodes(seed: int, model: ClusterModel) -> frozenset[int]:
    """Draw which nodes are bad, by index; the share is met as nearly as whole nodes allow."""
    return frozenset(_dice(seed, "nodes").sample(range(model.nodes), round(model.bad_share * model.nodes)))


class Outages:
    """When the controller is silent: stretches drawn one after the other, as far as anyone asks."""

    def __init__(self, seed: int, model: ControllerModel, begin: float) -> None:
        self._dice = _dice(seed, "outages")
        self._model = model
        self._from, self._until = begin, begin
        self._is_calm = not (model.outages_per_day and model.outage_s)

    def is_silent(self, now: float) -> bool:
        """Tell whether nobody answers at this moment (epoch seconds); moments are asked for in their order."""
        while not self._is_calm and now >= self._until:
            self._from = self._until + self._dice.expovariate(self._model.outages_per_day / _DAY_S)
            self._until = self._from + self._model.outage_s
        return not self._is_calm and now >= self._from


def _dice(seed: int, *whose: object) -> random.Random:
    return random.Random("/".join(map(str, (seed, *whose))))  # noqa: S311 - failures to try policies on, no secrets
