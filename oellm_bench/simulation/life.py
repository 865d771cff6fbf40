"""How an attempt goes, once it is known where it starts: pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from oellm_bench.simulation.luck import Need
from oellm_bench.simulation.settings import JobModel, SimulationConfig

_HOUR_S = 3600.0
# What ends a job that hangs: the node goes, or a limit is reached. Nothing comes from the job itself any more.
_FROM_OUTSIDE = ("node_fail", "preempted", "timeout", "time_limit")


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """What an attempt starts from: `begun_s` of its work was done before, `memory` times what it asks for is given.

    `timeout_s` ends its command, `limit_s` its job. `strain`: how many ordinary nodes its nodes count for.
    """

    begun_s: float
    memory: float
    timeout_s: float
    limit_s: float
    strain: float


@dataclass(frozen=True, kw_only=True)
class Life:
    """How long an attempt lasts if nobody ends it, and by what it ends; `hangs_s`: from when on it does nothing."""

    cause: str
    lasts_s: float
    hangs_s: float = math.inf


@dataclass(frozen=True, kw_only=True)
class Account:
    """Where an attempt's time went, in seconds; they add up to all of it.

    `kept_s`: work that a checkpoint or the end of the work has saved, `lost_s`: work that has to be done again,
    `hung_s`: waiting for somebody to notice.
    """

    startup_s: float
    kept_s: float
    lost_s: float
    hung_s: float


def life(need: Need, withstands: Mapping[str, float], given: Conditions, config: SimulationConfig) -> Life:
    """Return how an attempt goes. The cause is `success`, `timeout`, `time_limit`, `broken` or the name of a rate."""
    moments = dict(_moments(need, withstands, given, config))
    stall_s = moments.pop("stall")
    cause = min(moments, key=lambda name: moments[name])
    if moments[cause] <= stall_s:
        return Life(cause=cause, lasts_s=moments[cause])
    cause = min(_FROM_OUTSIDE, key=lambda name: moments[name])
    return Life(cause=cause, lasts_s=moments[cause], hangs_s=stall_s)


def account(model: JobModel, begun_s: float, lasted_s: float, hangs_s: float, *, succeeded: bool) -> Account:
    """Return where the time of an attempt went that ended after `lasted_s`, whatever ended it."""
    alive_s = min(lasted_s, hangs_s)
    startup_s = min(alive_s, model.startup_s)
    done_s = alive_s - startup_s
    kept_s = done_s if succeeded else _saved(model, begun_s, done_s)
    return Account(startup_s=startup_s, kept_s=kept_s, lost_s=done_s - kept_s, hung_s=lasted_s - alive_s)


def _saved(model: JobModel, begun_s: float, done_s: float) -> float:
    """Return how much of the work of a failed attempt its checkpoints have saved for the next one."""
    if not (model.resume and model.checkpoint_s):
        return 0.0
    last = math.floor((begun_s + done_s) / model.checkpoint_s) * model.checkpoint_s
    return max(0.0, last - begun_s)


def _moments(
    need: Need, withstands: Mapping[str, float], given: Conditions, config: SimulationConfig
) -> Iterator[tuple[str, float]]:
    """Yield when each thing would happen, in seconds from the start of the attempt, had nothing else come first."""

    def reached(place_s: float) -> float:
        return config.jobs.startup_s + place_s - given.begun_s if place_s >= given.begun_s else math.inf

    yield "success", reached(need.work_s)
    yield "timeout", given.timeout_s
    yield "time_limit", given.limit_s
    per_node, per_job = vars(config.per_node_hour), vars(config.per_job_hour)
    for cause, much in withstands.items():
        rate = per_node[cause] * given.strain if cause in per_node else per_job[cause]
        yield cause, much / rate * _HOUR_S if rate else math.inf
    if need.memory > given.memory:
        yield "memory", reached(need.peak_s)
    if need.broken_s is not None:
        yield "broken", reached(need.broken_s)
