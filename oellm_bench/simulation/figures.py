"""What a simulated campaign came to: where its GPU-hours went, and how its entries ended."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from oellm_bench.core.result import ErrorMode
from oellm_bench.simulation.job import SimulatedJob
from oellm_bench.state.model import SessionState

_HOUR_S = 3600.0
# What the cluster calls causes of its own, by the error mode they are an instance of.
_MODES = {
    "memory": ErrorMode.OOM.value,
    "broken": ErrorMode.CRASH.value,
    "time_limit": ErrorMode.TIMEOUT.value,
}


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures policies are compared by.

    `useful_gpu_hours`: work that is in an entry that passed. `wasted_gpu_hours`: all others, by what they were lost to:
    `startup`, `hung` (until somebody noticed), `abandoned` (saved work of entries that failed for good), and the error
    mode after which work had to be done again. Both together are `gpu_hours`, and `goodput` is the useful share, None
    where nothing ran.
    `restarts` and `failed` are counted by error mode, as the monitor judged.
    """

    entries: int
    passed: int
    failed: Mapping[str, int]
    attempts: int
    restarts: Mapping[str, int]
    finished_after_s: float
    gpu_hours: float
    useful_gpu_hours: float
    wasted_gpu_hours: Mapping[str, float]
    goodput: float | None
    calls_per_hour: float

    def to_document(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


def figures(jobs: Iterable[SimulatedJob], state: SessionState, *, lasted_s: float, calls: int) -> Figures:
    """Add up a campaign that is over. `lasted_s`: from its first submission to its end, `calls`: of the scheduler."""
    passed = {entry.id for entry in state.entries.values() if _outcome(state, entry.id) == ErrorMode.SUCCESS.value}
    spent = _spent(jobs, passed)
    useful = spent.pop("useful", 0.0)
    whole = useful + sum(spent.values())
    attempts = [attempt for entry in state.entries.values() for attempt in entry.attempts]
    again = [attempt.mode for entry in state.entries.values() for attempt in entry.attempts[:-1]]
    outcomes = (_outcome(state, entry) for entry in state.entries)
    return Figures(
        entries=len(state.entries),
        passed=len(passed),
        failed=_counted(outcome for outcome in outcomes if outcome != ErrorMode.SUCCESS.value),
        attempts=len(attempts),
        restarts=_counted(mode.value for mode in again if mode is not None),
        finished_after_s=lasted_s,
        gpu_hours=whole,
        useful_gpu_hours=useful,
        wasted_gpu_hours={name: spent[name] for name in sorted(spent) if spent[name]},
        goodput=useful / whole if whole else None,
        calls_per_hour=calls / (lasted_s / _HOUR_S) if lasted_s else 0.0,
    )


def _spent(jobs: Iterable[SimulatedJob], passed: set[str]) -> dict[str, float]:
    """Return GPU-hours by what became of them."""
    spent: dict[str, float] = defaultdict(float)
    for job in jobs:
        hours, went = job.gpus / _HOUR_S, job.account
        spent["startup"] += went.startup_s * hours
        spent["hung"] += went.hung_s * hours
        spent[_mode(job)] += went.lost_s * hours
        spent["useful" if job.entry.id in passed else "abandoned"] += went.kept_s * hours
    return dict(spent)


def _mode(job: SimulatedJob) -> str:
    """Return the error mode that an attempt's work was lost to."""
    if job.hangs_at < (job.ended_at or 0.0):
        return ErrorMode.STALL.value
    return _MODES.get(job.cause, job.cause)


def _outcome(state: SessionState, entry_id: str) -> str:
    entry = state.entries[entry_id]
    if entry.given_up is not None:
        return entry.given_up.value
    last = entry.last
    return ErrorMode.CANCELLED.value if last is None or last.mode is None else last.mode.value


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))
