"""What a simulation has to tell of policies that are known to be better or worse, and that its sums are right."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from oellm_bench.core.resources import Resources
from oellm_bench.core.result import ErrorMode
from oellm_bench.errors import UsageError
from oellm_bench.simulation.run import begin
from tests.simulation.campaigns import always, causes, model, plan, simulated, watch

HARDWARE = ("node_fail", "gpu_fault")


def excluding(retries):
    policy = {"class_name": "ExcludeNodesPolicy", "max_retries": retries}
    return [{"mode": mode, "implementation": policy} for mode in HARDWARE]


def test_where_nothing_fails_only_the_start_of_each_job_is_no_useful_work(tmp_path):
    campaign = plan(40)
    _, found = simulated(tmp_path, campaign, model(cluster={"nodes": 4}, jobs={"startup_s": 100.0}))
    assert (found.passed, found.attempts, found.restarts, found.failed) == (40, 40, {}, {})
    assert found.useful_gpu_hours == pytest.approx(40)
    assert found.wasted_gpu_hours == {"startup": pytest.approx(40 * 100 / 3600)}
    assert found.goodput == pytest.approx(3600 / 3700)
    # 40 jobs on 16 GPUs take three rounds, each noticed at most a look later.
    assert 3 * 3700 <= found.finished_after_s <= 3 * (3700 + 60) + 60


def test_without_a_start_all_of_it_is_useful(tmp_path):
    _, found = simulated(tmp_path, plan(5), model(jobs={"startup_s": 0.0}))
    assert (found.goodput, found.wasted_gpu_hours) == (1.0, {})


def rough(**jobs):
    return model(
        cluster={"nodes": 20, "bad_share": 0.2, "bad_factor": 50.0, "repair_s": 0.0},
        jobs=jobs,
        per_node_hour={"node_fail": 0.02, "gpu_fault": 0.02},
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_restarts_that_avoid_bad_nodes_waste_less_than_those_that_do_not(tmp_path, seed):
    retries = {"max_restarts": 20}
    elsewhere = watch({**retries, "restart_policies": excluding(20)})
    anywhere = watch({**retries, "restart_policies": always(20, *HARDWARE)})
    _, avoiding = simulated(tmp_path / "a", plan(150, elsewhere), rough(), seed=seed)
    _, staying = simulated(tmp_path / "b", plan(150, anywhere), rough(), seed=seed)
    assert sum(avoiding.wasted_gpu_hours.values()) < sum(staying.wasted_gpu_hours.values())
    assert avoiding.attempts < staying.attempts


def test_without_restarts_fewer_entries_pass(tmp_path):
    _, never = simulated(tmp_path / "a", plan(100, watch({"max_restarts": 0})), rough())
    _, again = simulated(tmp_path / "b", plan(100), rough())
    assert never.passed < again.passed
    assert never.attempts == 100 and not never.restarts
    assert set(never.failed) == set(HARDWARE)


def test_going_on_from_a_checkpoint_wastes_less_than_beginning_anew(tmp_path):
    _, resumed = simulated(tmp_path / "a", plan(100), rough(resume=True, checkpoint_s=300.0))
    _, anew = simulated(tmp_path / "b", plan(100), rough(resume=False, checkpoint_s=300.0))
    assert sum(resumed.wasted_gpu_hours.values()) < sum(anew.wasted_gpu_hours.values())
    assert resumed.goodput > anew.goodput


def test_a_stall_that_is_looked_for_is_waited_for_less_long(tmp_path):
    config = model(per_job_hour={"stall": 0.3}, jobs={"output_s": 300.0})
    policy = {"restart_policies": always(5, "stall")}
    simulation, found = simulated(tmp_path / "a", plan(60, watch(policy, inactivity_s=900)), config)
    _, blind = simulated(tmp_path / "b", plan(60, watch(policy)), config)
    assert (found.passed, blind.passed) == (60, 60 - blind.failed["timeout"])
    assert found.wasted_gpu_hours["hung"] < blind.wasted_gpu_hours["hung"]
    assert set(causes(simulation)) == {"success", "cancelled"}


def test_memory_that_grows_lets_those_pass_that_need_more(tmp_path):
    config = model(jobs={"memory_need": 0.8, "memory_spread": 0.5})
    grow = {"mode": "oom", "implementation": {"class_name": "GrowMemoryPolicy", "factor": 2.0, "max_retries": 2}}
    _, same = simulated(tmp_path / "a", plan(50, watch({"restart_policies": always(2, "oom")})), config)
    _, more = simulated(tmp_path / "b", plan(50, watch({"restart_policies": [grow]})), config)
    assert (more.passed, more.failed) == (50, {})
    assert same.failed == {"oom": more.restarts["oom"]}  # those that need more than they asked for, twice is enough


def test_more_memory_than_a_node_has_is_refused_and_taken_back(tmp_path):
    config = model(cluster={"most_memory": 1.5}, jobs={"memory_need": 1.8})
    grow = {"mode": "oom", "implementation": {"class_name": "GrowMemoryPolicy", "factor": 2.0, "max_retries": 2}}
    simulation, found = simulated(tmp_path, plan(1, watch({"restart_policies": [grow]})), config)
    modes = [attempt.mode.value for attempt in only_entry(simulation).attempts]
    assert found.passed == 0 and modes[:3] == ["oom", "submit_rejected", "oom"]


def test_an_entry_that_breaks_at_one_place_is_not_tried_for_ever(tmp_path):
    config = model(jobs={"broken_share": 1.0, "checkpoint_s": 0.0})
    tried = {"restart_policies": always(9, "crash"), "max_restarts": 9}
    _, stubborn = simulated(tmp_path / "a", plan(5, watch(tried)), config)
    _, wise = simulated(tmp_path / "b", plan(5, watch({**tried, "stop_without_progress": 2})), config)
    assert (stubborn.attempts, wise.attempts) == (50, 15)


def test_more_time_lets_those_pass_that_ran_out_of_it(tmp_path):
    config = model(jobs={"work_s": 5000.0, "resume": False})
    more = {"mode": "timeout", "implementation": {"class_name": "AdjustTimeLimitPolicy", "minutes": 30}}
    campaign = plan(3, watch({"restart_policies": [more]}), timeout_s=3600)
    _, found = simulated(tmp_path, campaign, config)
    assert (found.passed, found.restarts) == (3, {"timeout": 3})


def test_a_requeued_job_is_the_same_job_again(tmp_path):
    policy = {"mode": "preempted", "how": "requeue", **always(3, "preempted")[0]}
    config = model(per_job_hour={"preempted": 0.5})
    simulation, found = simulated(tmp_path, plan(30, watch({"restart_policies": [policy]})), config)
    runs = simulation.cluster.runs
    assert found.restarts["preempted"] == sum(run.restarts > 0 for run in runs) > 0
    assert len({run.job_id for run in runs}) == 30


def test_entries_wait_for_each_other(tmp_path):
    simulation, found = simulated(tmp_path, chain(6), model())
    assert found.passed == 6
    ends = [(run.started_at, run.ended_at) for run in simulation.cluster.runs]
    assert all(ended <= begun for (_, ended), (begun, _) in pairwise(ends))


def test_what_waits_for_an_entry_that_fails_is_given_up(tmp_path):
    _, found = simulated(tmp_path, chain(4), model(jobs={"broken_share": 1.0}))
    assert found.failed == {"crash": 1, "dependency_failed": 3}


@pytest.mark.parametrize("values", [{}, {"resume": False}, {"checkpoint_s": 0.0}])
def test_every_hour_is_useful_or_lost_to_something(tmp_path, values):
    config = model(
        cluster={"nodes": 10, "bad_share": 0.3},
        jobs={"memory_need": 0.9, "memory_spread": 0.4, "broken_share": 0.1, "work_spread": 0.5, **values},
        per_node_hour={"node_fail": 0.05, "gpu_fault": 0.05},
        per_job_hour=dict.fromkeys(("preempted", "nccl", "oom", "crash", "nan", "stall"), 0.05),
        controller={"unclear_share": 0.1, "outages_per_day": 10},
    )
    simulation, found = simulated(tmp_path, plan(80, watch(inactivity_s=1500)), config)
    whole = sum(run.gpus * (run.ended_at - run.started_at) / 3600 for run in simulation.cluster.runs if run.started_at)
    assert found.gpu_hours == pytest.approx(whole)
    assert found.useful_gpu_hours + sum(found.wasted_gpu_hours.values()) == pytest.approx(whole)
    assert found.passed + sum(found.failed.values()) == found.entries == 80
    assert found.attempts == 80 + sum(found.restarts.values())


def test_the_monitor_finds_the_true_cause_of_each_failure(tmp_path):
    config = model(
        per_node_hour={"node_fail": 0.2, "gpu_fault": 0.2},
        per_job_hour=dict.fromkeys(("preempted", "nccl", "oom", "crash", "nan"), 0.2),
        controller={"min_job_age_s": 3600.0},
    )
    simulation, _ = simulated(tmp_path, plan(150, watch({"max_restarts": 0})), config)
    state = simulation.session.store().state
    judged = {(run.cause, state.entries[run.entry.id].last.mode.value) for run in simulation.cluster.runs}
    causes = ("success", "node_fail", "gpu_fault", "preempted", "nccl", "oom", "crash", "nan")
    assert judged == {(cause, cause) for cause in causes}


def test_the_same_seed_gives_the_same_campaign_and_another_one_another(tmp_path):
    def ran(folder, seed):
        simulation, found = simulated(tmp_path / folder, plan(60), rough(work_spread=0.5), seed=seed)
        journal = simulation.session.layout.journal.read_text()
        return found, journal.replace(str(tmp_path / folder), "")

    first, second, other = ran("a", 1), ran("b", 1), ran("c", 2)
    assert first[0] == second[0] != other[0]
    assert len(first[1].splitlines()) == len(second[1].splitlines())


def test_a_seed_stands_for_the_same_failures_under_any_policy(tmp_path):
    """Whoever is lucky at his first attempt is so whatever would have followed."""
    never, _ = simulated(tmp_path / "a", plan(80, watch({"max_restarts": 0})), rough())
    again, _ = simulated(tmp_path / "b", plan(80), rough())
    without, with_them = (simulation.session.store().state.entries for simulation in (never, again))
    passed = {entry for entry, state in without.items() if state.last.mode is ErrorMode.SUCCESS}
    at_once = {entry for entry, state in with_them.items() if len(state.attempts) == 1}
    assert passed == at_once


def test_a_campaign_that_comes_to_no_end_is_refused(tmp_path):
    campaign = plan(
        1,
        watch({"restart_policies": always(10**6, "crash"), "max_restarts": 10**6}),
        timeout_s=1e7,
        resources=Resources(walltime_s=10**7),
    )
    config = model(jobs={"broken_share": 1.0, "work_s": 1e7, "resume": False})
    with pytest.raises(UsageError, match="budget of restarts"):
        begin(campaign, config, tmp_path, seed=1).run(interval_s=30 * 86400)


def only_entry(simulation):
    (entry,) = simulation.session.store().state.entries.values()
    return entry


def chain(count):
    """Return entries of which each waits for the one before."""
    first = plan(count)
    entries = [replace(e, after=(f"entry{n - 1:03d}",) if n else ()) for n, e in enumerate(first.entries)]
    return replace(first, entries=tuple(entries))
