"""What holds in every campaign, whatever fails and however often the monitor is killed: found out by simulation."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oellm_bench.core.resources import Resources
from oellm_bench.core.result import ErrorMode
from oellm_bench.monitor import Monitor
from oellm_bench.schedulers.base import Scheduler
from oellm_bench.simulation.run import Simulation, begin
from oellm_bench.state.model import SessionState
from tests.simulation.campaigns import MEMORY, model, plan, watch

NEVER_RAN = (ErrorMode.DEPENDENCY_FAILED, ErrorMode.SUBMIT_REJECTED)
MODES = ("node_fail", "gpu_fault", "preempted", "nccl", "oom", "crash", "nan", "stall", "timeout", "lost")
POLICIES = ("AlwaysRestartPolicy", "ExcludeNodesPolicy", "GrowMemoryPolicy", "AdjustTimeLimitPolicy")
LONGEST_S = 60 * 86400


class Death(BaseException):
    """What `kill -9` is to a process: nobody catches it."""


@dataclass
class Reaper:
    """Kills the monitor at the given touches of scheduler and journal, some of them in the middle of a line."""

    at: dict[int, str]
    touches: int = 0

    def touch(self, journal: Path | None = None) -> None:
        self.touches += 1
        how = self.at.get(self.touches)
        if how == "torn" and journal is not None:
            with journal.open("ab") as stream:
                stream.write(b'{"event": "Observed", "at"')
        if how is not None:
            raise Death


@dataclass(kw_only=True)
class Mortal(Scheduler):
    """The cluster as a monitor sees it that may die before or after each call."""

    inner: Scheduler
    reaper: Reaper

    def _called(self, call: Any, *arguments: Any, **named: Any) -> Any:
        self.reaper.touch()
        answer = call(*arguments, **named)
        self.reaper.touch()
        return answer

    def submit(self, request):
        return self._called(self.inner.submit, request)

    def snapshot(self, prefix, since, *, insist=False):
        return self._called(self.inner.snapshot, prefix, since, insist=insist)

    def requeue(self, job_id):
        self._called(self.inner.requeue, job_id)

    def cancel(self, job_ids):
        self._called(self.inner.cancel, job_ids)

    def limits(self):
        return self._called(self.inner.limits)


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A drawn campaign, and when its monitor is killed."""

    seed: int
    campaign: Any
    config: Any
    interval_s: float
    deaths: dict[int, str] = field(default_factory=dict)


@st.composite
def restarts(draw):
    modes = draw(st.lists(st.sampled_from(MODES), unique=True))
    policies = [
        {
            "mode": mode,
            "how": draw(st.sampled_from(["resubmit", "requeue"])),
            "implementation": {
                "class_name": (kind := draw(st.sampled_from(POLICIES))),
                "max_retries": draw(st.integers(0, 3)),
                **({"minutes": draw(st.sampled_from([10, 60]))} if kind == "AdjustTimeLimitPolicy" else {}),
                **({"factor": draw(st.sampled_from([1.5, 3.0]))} if kind == "GrowMemoryPolicy" else {}),
            },
        }
        for mode in modes
    ]
    return {
        "restart_policies": policies,
        "max_restarts": draw(st.integers(0, 5)),
        "window_restarts": draw(st.integers(0, 2)),
        "window_s": draw(st.sampled_from([600, 7200])),
        "stop_without_progress": draw(st.integers(0, 2)),
        "backoff_s": draw(st.sampled_from([0, 45, 300])),
        "max_failed_share": draw(st.sampled_from([1.0, 1.0, 0.5])),
        "brake_after": 3,
        "bad_nodes": {"most": draw(st.integers(0, 3))},
    }


def rates(*names):
    return st.fixed_dictionaries({name: st.sampled_from([0.0, 0.0, 0.0, 0.1, 0.5, 3.0]) for name in names})


@st.composite
def clusters(draw):
    nodes = draw(st.integers(1, 6))
    # Accounting that is behind by more than the time after which a lost submission is made again proves nothing: then
    # the queue has to list what has ended until the next look.
    lag_s, job_age_s = draw(st.sampled_from([(0.0, 30.0), (10.0, 300.0), (80.0, 30.0), (500.0, 2000.0)]))
    return model(
        cluster={
            "nodes": nodes,
            "gpus_per_node": draw(st.integers(1, 3)),
            "bad_share": draw(st.sampled_from([0.0, 0.5])),
            "bad_factor": 5.0,
            "repair_s": draw(st.sampled_from([0.0, 600.0])),
            "most_memory": draw(st.sampled_from([1.0, 2.0, 8.0])),
            "max_submit": draw(st.none() | st.integers(12, 16)),
            "max_array_size": draw(st.sampled_from([4, 1001])),
        },
        jobs={
            "work_spread": draw(st.sampled_from([0.0, 0.8])),
            "checkpoint_s": draw(st.sampled_from([0.0, 700.0])),
            "resume": draw(st.booleans()),
            "memory_need": draw(st.sampled_from([0.5, 1.2])),
            "memory_spread": draw(st.sampled_from([0.0, 0.5])),
            "broken_share": draw(st.sampled_from([0.0, 0.3])),
        },
        per_node_hour=draw(rates("node_fail", "gpu_fault")),
        per_job_hour=draw(rates("preempted", "nccl", "oom", "crash", "nan", "stall")),
        controller={
            "accounting_lag_s": lag_s,
            "min_job_age_s": job_age_s,
            "unclear_share": draw(st.sampled_from([0.0, 0.3])),
            "outages_per_day": draw(st.sampled_from([0.0, 40.0])),
            "outage_s": draw(st.sampled_from([120.0, 1500.0])),
        },
    )


@st.composite
def campaigns(draw):
    settings = watch(
        draw(restarts()),
        inactivity_s=draw(st.sampled_from([0.0, 1300.0])),
        progress_s=draw(st.sampled_from([0.0, 1300.0])),
    )
    count, timeout_s = draw(st.integers(1, 12)), draw(st.sampled_from([2400, 14400, 14400]))
    in_array, order = draw(st.booleans()), draw(st.sampled_from(["", "", "afterok", "afterany"]))
    drawn = plan(count, settings, timeout_s=timeout_s)
    entries = [
        replace(
            entry,
            resources=Resources(
                nodes=draw(st.sampled_from([1, 1, 2])), gpus=draw(st.integers(0, 2)), walltime_s=timeout_s + 120
            ),
            **({"script": "scripts/array.sbatch", "task": number} if in_array else {}),
            **({"after": (f"entry{number - 1:03d}",), "after_type": order} if order and number % 3 else {}),
        )
        for number, entry in enumerate(drawn.entries)
    ]
    return replace(drawn, entries=tuple(entries))


@st.composite
def trials(draw, *, deaths):
    return Trial(
        seed=draw(st.integers(0, 2**32)),
        campaign=draw(campaigns()),
        config=draw(clusters()),
        interval_s=draw(st.sampled_from([20.0, 60.0, 400.0])),
        deaths=draw(
            st.dictionaries(st.integers(1, 150), st.sampled_from(["between", "torn"]), min_size=deaths, max_size=12)
        )
        if deaths
        else {},
    )


def run_to_the_end(trial: Trial, folder: Path) -> tuple[Simulation, SessionState]:
    """Run a campaign, with a new monitor after each death, and return it with what its journal says."""
    simulation = begin(trial.campaign, trial.config, folder, seed=trial.seed)
    reaper = Reaper(dict(trial.deaths))
    monitor, over = mortal(simulation, reaper), False
    while not over:
        assert simulation.clock.now() - simulation.began_at < LONGEST_S, "it comes to no end"
        try:
            over = simulation.look(monitor, trial.interval_s)
        except Death:
            monitor = mortal(simulation, reaper)
    return simulation, simulation.session.store().state


def mortal(simulation: Simulation, reaper: Reaper) -> Monitor:
    """Return a monitor of a new process, which may die at the reaper's word."""
    monitor = simulation.open_monitor()
    store, journal = monitor.store, simulation.session.state_layout.journal(simulation.session.id)
    written = store.append
    monitor.scheduler = monitor.submitter.scheduler = Mortal(inner=simulation.cluster, reaper=reaper)
    store.guard = lambda: reaper.touch(journal)

    def append(*events):
        written(*events)
        reaper.touch()

    store.append = append
    return monitor


def assert_all_is_well(trial: Trial, simulation: Simulation, state: SessionState) -> None:
    assert [entry.id for entry in state.entries.values() if not entry.over] == []
    assert_one_at_a_time(simulation)
    assert_all_jobs_are_known(simulation, state)
    assert_what_succeeded_has_passed(simulation, state)
    for entry in state.entries.values():
        assert_within_budget(trial, entry)


def assert_one_at_a_time(simulation):
    runs = defaultdict(list)
    for job in simulation.cluster.runs:
        if job.started_at is not None:
            runs[job.entry.id].append((job.started_at, job.ended_at))
    for entry, found in runs.items():
        assert all(ended <= begun for (_, ended), (begun, _) in pairwise(sorted(found))), (entry, sorted(found))


def assert_all_jobs_are_known(simulation, state):
    known = [attempt.job_id for entry in state.entries.values() for attempt in entry.attempts if attempt.job_id]
    assert Counter(known) == Counter(str(job.job_id) for job in simulation.cluster.runs)
    assert [job.job_id for job in simulation.cluster.runs if job.ended_at is None] == []


def assert_what_succeeded_has_passed(simulation, state):
    succeeded = {job.entry.id for job in simulation.cluster.runs if job.cause == "success"}
    passed = {entry.id for entry in state.entries.values() if entry.last and entry.last.mode is ErrorMode.SUCCESS}
    assert passed == succeeded


def assert_within_budget(trial, entry):
    restart = trial.campaign.watch[0]["restart"]
    again = [attempt for attempt in entry.attempts[:-1] if attempt.mode not in NEVER_RAN]
    assert len(again) <= restart["max_restarts"]
    retries = {ErrorMode(item["mode"]): item["implementation"]["max_retries"] for item in restart["restart_policies"]}
    for mode, count in Counter(attempt.mode for attempt in again).items():
        assert count <= retries.get(mode, retries.get(mode.parent, 0)), mode
    for last in again if restart["window_restarts"] else ():
        lately = [one for one in again if 0 <= last.over_at - one.over_at <= restart["window_s"]]
        assert len(lately) <= restart["window_restarts"]


def check(trial: Trial) -> None:
    with tempfile.TemporaryDirectory(dir=MEMORY) as name:
        assert_all_is_well(trial, *run_to_the_end(trial, Path(name)))


QUICK = settings(max_examples=120, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
LONG = settings(QUICK, max_examples=3000, derandomize=False)


@QUICK
@given(trials(deaths=0))
def test_no_two_live_attempts_no_restart_over_budget_and_every_entry_ends(trial):
    check(trial)


@QUICK
@given(trials(deaths=1))
def test_so_it_is_where_the_monitor_is_killed_at_any_point(trial):
    check(trial)


@pytest.mark.soak
@LONG
@given(trials(deaths=0))
def test_the_same_for_long(trial):
    check(trial)


@pytest.mark.soak
@LONG
@given(trials(deaths=1))
def test_the_same_for_long_under_kills(trial):
    check(trial)
