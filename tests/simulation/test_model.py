"""The parts of the simulated cluster: luck, lives, nodes, records."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oellm_bench.clock import ManualClock
from oellm_bench.core.job import JobId, JobState
from oellm_bench.core.layout import SessionLayout
from oellm_bench.errors import QueueFull, SchedulerUnavailable, SubmissionRejected, SubmissionUnclear
from oellm_bench.schedulers.base import SubmitRequest
from oellm_bench.simulation import luck
from oellm_bench.simulation.cluster import SimulatedCluster
from oellm_bench.simulation.life import Conditions, account, life
from oellm_bench.simulation.luck import CAUSES, Need
from oellm_bench.simulation.nodes import Nodes
from oellm_bench.simulation.settings import ClusterModel, ControllerModel, JobModel
from oellm_bench.watch import watch_settings
from tests.simulation.campaigns import model, plan, watch

SOUND = Need(work_s=3600.0, memory=0.5, peak_s=1000.0, broken_s=None)
WITHSTANDS = dict.fromkeys(CAUSES, 1.0)


def given_(**values):
    return Conditions(**{"begun_s": 0.0, "memory": 1.0, "timeout_s": 1e6, "limit_s": 1e6, "strain": 1.0, **values})


@pytest.mark.parametrize(
    ("need", "conditions", "rates", "cause", "lasts_s"),
    [
        ({}, {}, {}, "success", 3660),
        ({}, {"begun_s": 3000.0}, {}, "success", 660),
        ({}, {"timeout_s": 100.0}, {}, "timeout", 100),
        ({}, {"timeout_s": 100.0, "limit_s": 50.0}, {}, "time_limit", 50),
        ({"memory": 1.2}, {}, {}, "memory", 1060),
        ({"memory": 1.2}, {"memory": 1.5}, {}, "success", 3660),
        ({"memory": 1.2}, {"begun_s": 1500.0}, {}, "success", 2160),  # the peak is behind it
        ({"broken_s": 500.0}, {}, {}, "broken", 560),
        ({"broken_s": 500.0}, {"begun_s": 400.0}, {}, "broken", 160),
        ({}, {}, {"per_job_hour": {"crash": 2.0}}, "crash", 1800),
        ({}, {}, {"per_node_hour": {"node_fail": 2.0}}, "node_fail", 1800),
        ({}, {"strain": 4.0}, {"per_node_hour": {"node_fail": 2.0}}, "node_fail", 450),
        ({}, {"strain": 4.0}, {"per_job_hour": {"crash": 2.0}}, "crash", 1800),
    ],
)
def test_what_comes_first_ends_an_attempt(need, conditions, rates, cause, lasts_s):
    found = life(Need(**{**vars(SOUND), **need}), WITHSTANDS, given_(**conditions), model(**rates))
    assert (found.cause, round(found.lasts_s), found.hangs_s) == (cause, lasts_s, math.inf)


def test_a_job_that_hangs_waits_for_a_limit():
    found = life(SOUND, WITHSTANDS, given_(timeout_s=7200.0), model(per_job_hour={"stall": 2.0}))
    assert (found.cause, found.lasts_s, found.hangs_s) == ("timeout", 7200, 1800)


@given(
    begun=st.integers(0, 20),
    lasted_s=st.floats(0, 1e5),
    hangs_s=st.floats(0, 1e5) | st.just(math.inf),
    succeeded=st.booleans(),
    resume=st.booleans(),
)
def test_the_time_of_an_attempt_is_accounted_for(begun, lasted_s, hangs_s, succeeded, resume):
    jobs = JobModel(checkpoint_s=700.0, startup_s=60.0, resume=resume)
    found = account(jobs, begun * 700.0, lasted_s, hangs_s, succeeded=succeeded)
    assert sum(vars(found).values()) == pytest.approx(lasted_s)
    assert min(vars(found).values()) >= 0
    assert found.lost_s < 700.0 + 1e-6 or (not resume and not succeeded)


def test_draws_depend_on_nothing_but_the_seed_and_whose_they_are():
    first = luck.hazards(7, "e1", 1)
    luck.hazards(7, "e2", 1)
    assert luck.hazards(7, "e1", 1) == first
    others = [luck.hazards(8, "e1", 1), luck.hazards(7, "e2", 1), luck.hazards(7, "e1", 2)]
    assert all(other != first for other in others)


def test_the_work_of_entries_has_the_median_and_the_limit_it_was_given():
    jobs = JobModel(work_s=1000.0, work_spread=0.5, work_most_s=3000.0)
    works = sorted(luck.need(1, f"e{number}", jobs).work_s for number in range(2001))
    assert works[1000] == pytest.approx(1000, rel=0.05)
    assert works[-1] == 3000


def test_so_many_nodes_are_bad():
    cluster = ClusterModel(nodes=200, bad_share=0.1)
    assert len(luck.bad_nodes(1, cluster)) == 20 == len(luck.bad_nodes(2, cluster))
    assert luck.bad_nodes(1, cluster) != luck.bad_nodes(2, cluster)


def test_the_controller_is_silent_as_often_as_was_asked_for():
    outages = luck.Outages(1, ControllerModel(outages_per_day=10, outage_s=600.0), 0.0)
    silent = sum(outages.is_silent(minute * 60.0) for minute in range(100 * 1440))
    # 10 stretches of 10 minutes, each after a pause of 144 minutes on average.
    assert silent / (100 * 1440) == pytest.approx(10 / 154, rel=0.15)


def test_nodes_are_taken_in_order_shared_and_given_back():
    nodes = Nodes(ClusterModel(nodes=3, gpus_per_node=4))
    assert nodes.take(1, 3, ()) == (0,)
    assert nodes.take(2, 1, ()) == (0, 1)
    assert nodes.take(1, 4, ()) == (2,)
    assert nodes.take(1, 4, ()) == ()
    assert nodes.take(1, 3, {1}) == ()
    nodes.give_back((0,), 3)
    assert nodes.take(1, 3, {1}) == (0,)


def test_a_node_that_is_down_takes_nothing_until_it_is_up():
    nodes = Nodes(ClusterModel(nodes=2, gpus_per_node=1))
    nodes.take_down(0)
    assert nodes.take(1, 1, ()) == (1,)
    assert nodes.take(1, 1, ()) == ()
    nodes.give_back((1,), 1)
    nodes.bring_up(0)
    assert nodes.take(2, 1, ()) == (0, 1)


class Desk:
    """A cluster, and calls as the submitter makes them."""

    def __init__(self, folder, entries=1, *, tasks=0, **sections):
        self.clock = ManualClock()
        self.layout = SessionLayout(folder / "s")
        planned = plan(tasks or entries).entries
        if tasks:
            planned = [replace(entry, script="scripts/array.sbatch", task=entry.index) for entry in planned]
        settings = (watch_settings(watch(), {}),)
        self.cluster = SimulatedCluster(planned, self.layout, model(**sections), settings, seed=1, clock=self.clock)

    def submit(self, number=0, **options):
        script = self.layout.root / f"scripts/e{number}.sbatch"
        name = f"ob-00000001-entry{number:03d}-a1"
        return self.cluster.submit(
            SubmitRequest(name=name, script=script, arguments=("1", name, "14400", "0"), options=options)
        )

    def submit_array(self, tasks, max_parallel):
        name = "ob-00000001-array000-a1"
        return self.cluster.submit(
            SubmitRequest(
                name=name,
                script=self.layout.root / "scripts/array.sbatch",
                arguments=("1", name, "14400", "0"),
                tasks=tuple(tasks),
                max_parallel=max_parallel,
            )
        )

    def rows(self):
        return {row.job_id: row for row in self.cluster.snapshot("ob-", 0.0).jobs}


def test_a_job_goes_through_the_states_of_slurm(tmp_path):
    desk = Desk(tmp_path, 2, cluster={"nodes": 1, "gpus_per_node": 1})
    first, second = desk.submit(0), desk.submit(1)
    assert [desk.rows()[job].state for job in (first, second)] == [JobState.RUNNING, JobState.PENDING]
    desk.clock.sleep(3700)
    assert [desk.rows()[job].state for job in (first, second)] == [JobState.COMPLETED, JobState.RUNNING]
    desk.cluster.cancel([second])
    assert desk.rows()[second].state is JobState.CANCELLED
    desk.cluster.cancel([second, JobId(99)])


def test_accounting_is_behind_once_the_queue_has_forgotten(tmp_path):
    desk = Desk(tmp_path, controller={"accounting_lag_s": 600.0, "min_job_age_s": 300.0})
    job = desk.submit()
    desk.clock.sleep(3660 + 200)
    assert desk.rows()[job].state is JobState.COMPLETED
    desk.clock.sleep(200)
    assert desk.rows()[job].state is JobState.RUNNING
    desk.clock.sleep(300)
    assert desk.rows()[job].state is JobState.COMPLETED


def test_a_silent_controller_answers_nothing_and_jobs_go_on(tmp_path):
    desk = Desk(tmp_path, controller={"outages_per_day": 1e9, "outage_s": 1e9})
    desk.clock.sleep(1)
    with pytest.raises(SchedulerUnavailable):
        desk.submit()
    snapshot = desk.cluster.snapshot("ob-", 0.0)
    assert not (snapshot.queue_answered or snapshot.accounting_answered or snapshot.jobs)


def test_a_lost_answer_leaves_a_job_or_none(tmp_path):
    desk = Desk(tmp_path, 40, controller={"unclear_share": 1.0, "late_s": 50.0})
    for number in range(40):
        with pytest.raises(SubmissionUnclear):
            desk.submit(number)
    assert len(desk.rows()) < 20
    desk.clock.sleep(51)
    assert 10 < len(desk.rows()) < 30


def test_only_so_many_are_taken_at_once(tmp_path):
    desk = Desk(tmp_path, 3, cluster={"max_submit": 2})
    desk.submit(0), desk.submit(1)
    with pytest.raises(QueueFull):
        desk.submit(2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"exclude": "n1,n2"}, "node configuration"),
        ({"mem": "64G"}, "Memory"),
        ({"dependency": "afterok:77"}, "dependency"),
    ],
)
def test_what_the_cluster_cannot_do_is_refused(tmp_path, options, message):
    desk = Desk(tmp_path, cluster={"nodes": 2})
    with pytest.raises(SubmissionRejected, match=message):
        desk.submit(**options)


def test_an_excluded_node_is_not_used(tmp_path):
    desk = Desk(tmp_path, cluster={"nodes": 2})
    job = desk.submit(exclude="n1")
    assert desk.rows()[job].nodes == "n2"


def test_tasks_of_an_array_run_so_many_at_a_time(tmp_path):
    desk = Desk(tmp_path, tasks=5)
    job = desk.submit_array(range(5), max_parallel=2)
    states = [desk.rows()[JobId(job.job, task)].state for task in range(5)]
    assert states == [JobState.RUNNING] * 2 + [JobState.PENDING] * 3
    desk.cluster.cancel([JobId(job.job, 0), JobId(job.job, 2)])
    running = [task for task in range(5) if desk.rows()[JobId(job.job, task)].state is JobState.RUNNING]
    assert running == [1, 3]


def test_an_ended_job_is_requeued_while_the_controller_knows_it(tmp_path):
    desk = Desk(tmp_path, controller={"min_job_age_s": 100.0})
    job = desk.submit()
    with pytest.raises(SubmissionRejected):
        desk.cluster.requeue(job)
    desk.cluster.cancel([job])
    desk.cluster.requeue(job)
    assert (desk.rows()[job].state, desk.rows()[job].restarts) == (JobState.RUNNING, 1)
    desk.cluster.cancel([job])
    desk.clock.sleep(101)
    with pytest.raises(SubmissionRejected, match="Invalid job id"):
        desk.cluster.requeue(job)
