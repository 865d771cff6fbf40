"""The pure decisions: what starts where, and what a dependency says."""

import math

import pytest

from oellm_bench.core.job import JobId, JobState
from oellm_bench.schedulers.embedded.dependencies import Fate, Verdict, judge, parse_dependency
from oellm_bench.schedulers.embedded.placement import Demand, Holding, Shape, Waiting, place

NOW = 1000.0


def waiting(raw_id, cpus=1, nodes=1, limit_s=None, **more):
    demand = Demand(cpus=cpus, nodes=nodes, **more)
    return Waiting(raw_id=raw_id, demand=demand, time_limit_s=limit_s)


def holding(node, cpus, ends_at=math.inf):
    return Holding(demand=Demand(cpus=cpus), allocation={node: []}, ends_at=ends_at)


def shape(nodes=1, cpus=4, gpus=0):
    return Shape(nodes=nodes, cpus=cpus, gpus=gpus, memory_bytes=0)


def test_jobs_start_in_order_while_there_is_room():
    plan = place(shape(), [waiting(1, 2), waiting(2, 2), waiting(3, 2)], [], (), NOW)
    assert list(plan.starts) == [1, 2]
    assert plan.reasons == {3: "Resources"}


def test_short_job_goes_ahead_of_one_that_has_to_wait_anyway():
    running = [holding("node1", 3, ends_at=NOW + 100)]
    plan = place(shape(), [waiting(1, 4), waiting(2, 1, limit_s=50)], running, (), NOW)
    assert list(plan.starts) == [2]


def test_long_job_does_not_delay_the_one_that_waits_first():
    running = [holding("node1", 3, ends_at=NOW + 100)]
    plan = place(shape(), [waiting(1, 4), waiting(2, 1, limit_s=150)], running, (), NOW)
    assert plan.starts == {}
    assert plan.reasons == {1: "Resources", 2: "Priority"}


def test_job_without_limit_goes_ahead_on_a_node_that_nobody_waits_for():
    running = [holding("node1", 1, ends_at=NOW + 100), holding("node2", 1, ends_at=NOW + 900)]
    plan = place(shape(nodes=2), [waiting(1, 4), waiting(2, 1)], running, (), NOW)
    assert plan.starts == {2: {"node2": []}}


def test_job_that_waits_for_a_failed_node_holds_nobody_up():
    plan = place(shape(nodes=2), [waiting(1, 1, nodes=2), waiting(2)], [], ("node1",), NOW)
    assert plan.starts == {2: {"node2": []}}


def test_a_job_stays_off_the_nodes_that_it_excludes():
    plan = place(shape(nodes=3), [waiting(1, exclude=("node1", "node2")), waiting(2)], [], (), NOW)
    assert {number: list(nodes) for number, nodes in plan.starts.items()} == {1: ["node3"], 2: ["node1"]}
    assert not shape(nodes=2).can_ever_hold(Demand(nodes=2, exclude=("node1",)))
    assert shape(nodes=2).can_ever_hold(Demand(nodes=2, exclude=("other",)))


def test_each_job_gets_gpus_of_its_own():
    jobs = [waiting(1, gpus=2), waiting(2, gpus=1), waiting(3, gpus=2)]
    plan = place(shape(gpus=4), jobs, [], (), NOW)
    assert plan.starts == {1: {"node1": [0, 1]}, 2: {"node1": [2]}}


COMPLETED = Fate(state=JobState.COMPLETED, started_at=900.0)
FAILED = Fate(state=JobState.FAILED, started_at=900.0)
RUNNING = Fate(state=JobState.RUNNING, started_at=990.0)
PENDING = Fate(state=JobState.PENDING, started_at=None)


@pytest.mark.parametrize(
    ("text", "fates", "verdict"),
    [
        ("after:1", [RUNNING], Verdict.SATISFIED),
        ("after:1", [RUNNING, PENDING], Verdict.WAITING),
        ("after:1+1", [RUNNING], Verdict.WAITING),
        ("after:1+1", [FAILED], Verdict.SATISFIED),
        ("afterany:1", [FAILED, COMPLETED], Verdict.SATISFIED),
        ("afterany:1", [FAILED, RUNNING], Verdict.WAITING),
        ("afterok:1", [COMPLETED, COMPLETED], Verdict.SATISFIED),
        ("afterok:1", [COMPLETED, RUNNING], Verdict.WAITING),
        ("afterok:1", [FAILED, RUNNING], Verdict.NEVER),
        ("afternotok:1", [COMPLETED, FAILED], Verdict.SATISFIED),
        ("afternotok:1", [COMPLETED], Verdict.NEVER),
        ("afternotok:1", [FAILED, RUNNING], Verdict.WAITING),
        ("afterok:1,afternotok:1", [COMPLETED], Verdict.NEVER),
        ("afterok:1?afternotok:1", [COMPLETED], Verdict.SATISFIED),
        ("afterok:1?afterok:1", [FAILED], Verdict.NEVER),
        ("singleton", [], Verdict.WAITING),
        ("", [], Verdict.SATISFIED),
    ],
)
def test_dependency(text, fates, verdict):
    decided = judge(parse_dependency(text), lambda _: fates, task=None, is_first_of_name=lambda: False, now=NOW)
    assert decided is verdict


def test_aftercorr_looks_at_the_task_of_the_same_index():
    fates = {JobId(1, 4): [COMPLETED], JobId(1, 5): [FAILED]}
    verdicts = [
        judge(
            parse_dependency("aftercorr:1"),
            lambda job_id: fates[job_id],
            task=task,
            is_first_of_name=lambda: False,
            now=NOW,
        )
        for task in (4, 5)
    ]
    assert verdicts == [Verdict.SATISFIED, Verdict.NEVER]
