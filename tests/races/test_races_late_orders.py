"""Race 29: what SLURM is told of a job that has just started, ended or changed by another hand."""

from __future__ import annotations

import pytest

ALREADY_ENDED = "Kill job error on job id 101: Job/step already completing or completed"
UNKNOWN = "Kill job error on job id 101: Invalid job id specified"
NOT_NOW = "Requested operation is presently disabled for job 101"
TIMED_OUT = "slurm_requeue error: Socket timed out on send/recv operation"


@pytest.fixture
def failed(watch, cluster):
    """Return a session whose job has failed and is to be put back into the queue, and is at that point."""

    def make(says=""):
        policy = {"mode": "crash", "how": "requeue", "implementation": {"class_name": "AlwaysRestartPolicy"}}
        watched = watch(
            slurm={"sbatch": {"requeue": True}}, restart_policies=[policy], restart={"backoff_s": 0, "max_restarts": 5}
        )
        watched.submit()
        cluster.queue(watched.queue_row("RUNNING"))
        watched.look()
        if says:
            cluster.fail("scontrol", says)
        watched.leave_record(returncode=1)
        cluster.queue(watched.queue_row("FAILED", code=1 << 8))
        watched.look(30)
        assert cluster.calls("scontrol requeue") == ["scontrol requeue 101"]
        return watched

    return make


@pytest.mark.parametrize("says", [ALREADY_ENDED, UNKNOWN])
def test_race_29_a_cancel_that_slurm_refuses_disturbs_nobody(watch, cluster, says):
    stalls = {"inactivity_s": 60.0, "missing_grace_s": 120.0}
    watched = watch(monitoring=stalls, sweep=[0, 1], restart_policies=[])
    watched.submit()
    cluster.queue(watched.queue_row("RUNNING"), watched.queue_row("RUNNING", 1))
    watched.look()
    cluster.fail("scancel", says)
    watched.look(61)
    cluster.queue(watched.queue_row("FAILED", code=1 << 8), watched.queue_row("FAILED", 1, code=1 << 8))
    watched.look(1)
    assert watched.look(20).finished
    assert watched.modes() == ["crash", "crash"]


def test_race_29_a_requeue_that_slurm_refuses_is_followed_by_a_new_job(failed, cluster):
    watched = failed(NOT_NOW)
    watched.look(1)
    assert (watched.attempt().number, watched.attempt().job_id) == (2, "102")
    watched.look(30)
    assert len(cluster.calls("sbatch")) == 2


def test_race_29_a_requeue_whose_answer_got_lost_is_seen_in_the_queue_and_not_repeated(failed, cluster):
    watched = failed(TIMED_OUT)
    cluster.mend("scontrol")
    cluster.queue(watched.queue_row("PENDING", restarts=1))
    watched.look(30)
    watched.look(3600)
    assert (watched.attempt().state.value, watched.attempt().job_id) == ("PENDING", "101")
    assert (len(cluster.calls("scontrol requeue")), len(cluster.calls("sbatch"))) == (1, 1)


def test_race_29_a_job_that_somebody_else_has_requeued_first_does_not_run_beside_its_successor(failed, cluster):
    watched = failed("Job is pending execution for job 101")
    first = watched.attempt()
    back = watched.queue_row("PENDING", restarts=1)
    cluster.queue(back)
    watched.look(1)
    assert (first.job_id, watched.attempt().job_id) == ("101", "102")
    cluster.queue(back, watched.queue_row("RUNNING"))
    watched.look(30)
    assert set(cluster.calls("scancel")) == {"scancel 101"}
    assert (watched.attempt().number, watched.attempt().cancel_by) == (2, "")
