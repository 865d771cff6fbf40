"""Between the decision to requeue and the job in the queue: lost calls, forgotten jobs, other hands."""

from __future__ import annotations

import time

from oellm_bench.core.events import Requeued
from oellm_bench.monitoring.reconcile import stragglers
from tests.races.scripted import BEGUN, queue_row
from tests.watching.test_further_logs import running

SLURM = {"sbatch": {"requeue": True}}


def policy(mode):
    return [{"mode": mode, "how": "requeue", "implementation": {"class_name": "AlwaysRestartPolicy", "max_retries": 3}}]


def test_a_requeue_that_never_left_is_followed_by_a_new_job_without_accounting_too(watch, cluster):
    cluster.fail("sacct", "Slurm accounting storage is disabled")
    watched = running(watch(restart_policies=policy("crash"), slurm=SLURM), cluster)
    watched.leave_record(returncode=1)
    cluster.queue(watched.queue_row("FAILED", code=256))
    cluster.fail("scontrol", "Unable to contact slurm controller (connect failure)")
    watched.look(1)
    assert watched.entry().requeue_due
    with watched.monitor.store.locked():  # as far as a monitor comes that is killed before its call
        watched.monitor.store.append(Requeued(at=watched.clock.now(), entry=watched.entry().id, attempt=1))
    watched.monitor = watched.another_monitor()
    cluster.queue()  # the controller has forgotten it
    for _ in range(10):
        watched.look(60)
    assert watched.modes() == ["crash"]
    assert len(cluster.calls("sbatch")) == 2


def test_a_requeued_job_that_another_hand_cancels_before_it_starts_stays_cancelled(watch, cluster):
    """It had never started before either."""
    watched = watch(restart_policies=policy("timeout"), slurm=SLURM)
    watched.submit()

    def row(state):
        started = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(BEGUN + 1))
        return watched.account_row(state).replace(started, "Unknown")

    cluster.accounting(row("DEADLINE"))
    watched.look(5)
    assert cluster.calls("scontrol") == ["scontrol requeue 101"]
    cluster.queue(watched.queue_row("PENDING", restarts=1))
    cluster.accounting(row("PENDING"))
    watched.look(5)
    cluster.queue()
    cluster.accounting(row("CANCELLED by 0"))
    assert any(watched.look(30).finished for _ in range(10))
    assert len(cluster.calls("sbatch")) == 1
    assert watched.modes() == ["timeout", "cancelled"]


def test_a_controller_that_gives_no_answer_is_not_asked_for_each_job(watch, cluster):
    watched = watch(sweep=list(range(10)), restart_policies=policy("crash"), slurm=SLURM)
    watched.submit()
    for number in range(10):
        watched.leave_record(number, returncode=1)
    cluster.queue(*(watched.queue_row("FAILED", number, code=256) for number in range(10)))
    cluster.fail("scontrol", "Socket timed out on send/recv operation")
    watched.look(1)
    assert sum("requeue" in call for call in cluster.calls("scontrol")) <= 1


def test_nothing_is_cancelled_on_the_word_of_accounting_alone(watch, cluster):
    """Its row may be old, and the id somebody else's by now."""
    watched = running(watch(sweep=[1, 2]), cluster)
    watched.leave_record(returncode=1)
    cluster.queue(watched.queue_row("FAILED", code=256), watched.queue_row("RUNNING", 1))
    watched.look(1)
    cluster.queue(queue_row("101", "RUNNING", name="somebody-else"), watched.queue_row("RUNNING", 1))
    cluster.accounting(watched.account_row("RUNNING"))
    snapshot = watched.monitor.scheduler.snapshot("ob-", BEGUN - 300)
    assert list(stragglers(snapshot, watched.monitor.store.state)) == []
    watched.look(1)
    assert cluster.calls("scancel") == []
