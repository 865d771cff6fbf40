"""Races 4, 5, 9 to 12, 15, 16 and 20: what two sources say of jobs, each late in its own way."""

from __future__ import annotations

import pytest

from tests.races.scripted import account_row, queue_row

RESTARTED_WHEN_PREEMPTED = [{"mode": "preempted", "implementation": {"class_name": "AlwaysRestartPolicy"}}]


@pytest.fixture
def array(watch):
    """A session whose three entries are the tasks 101_0 to 101_2."""
    watched = watch(slurm={"array": True, "max_parallel": 2}, sweep=[0, 1, 2])
    watched.submit()
    return watched


def states(watched, count=3):
    return [watched.attempt(n).state.value for n in range(count)]


def test_race_04_a_job_between_queue_and_accounting_keeps_its_state_for_the_grace_time(watch, cluster):
    watched = watch(monitoring={"missing_grace_s": 600.0})
    watched.submit()
    cluster.queue(watched.queue_row("RUNNING"))
    watched.look()
    cluster.queue()
    watched.look(30)
    watched.look(500)
    assert (watched.attempt().state.value, watched.modes()) == ("RUNNING", [])
    cluster.accounting(watched.account_row("COMPLETED"))
    watched.leave_record()
    watched.look(1)
    assert watched.modes() == ["success"]


def test_race_04_nobody_knows_a_job_that_was_just_submitted_and_that_is_no_loss(watch, cluster):
    watched = watch(monitoring={"missing_grace_s": 600.0})
    watched.submit()
    watched.look()
    watched.look(20)
    cluster.queue(watched.queue_row("PENDING"))
    watched.look(20)
    watched.look(10_000)
    assert (watched.attempt().missing_since, watched.modes()) == (None, [])


def test_race_04_after_the_grace_time_the_job_is_lost(watch, cluster):
    watched = watch(monitoring={"missing_grace_s": 600.0}, restart_policies=[])
    watched.submit()
    cluster.queue(watched.queue_row("RUNNING"))
    watched.look()
    cluster.queue()
    watched.look(30)
    watched.look(601)
    assert watched.modes() == ["lost"]


def test_race_04_a_source_that_does_not_answer_lists_nothing_and_that_proves_nothing(watch, cluster):
    watched = watch(monitoring={"missing_grace_s": 600.0})
    watched.submit()
    cluster.queue(watched.queue_row("RUNNING"))
    watched.look()
    cluster.queue()
    cluster.fail("sacct", "Problem talking to the database: Connection refused")
    watched.look(30)
    watched.look(10_000)
    assert (watched.attempt().missing_since, watched.modes()) == (None, [])


@pytest.mark.parametrize("older", ["REQUEUED", "NODE_FAIL", "PREEMPTED", "COMPLETED"])
def test_race_05_accountings_record_of_the_run_before_a_requeue_ends_nothing(watch, cluster, older):
    watched = watch()
    watched.submit()
    cluster.accounting(watched.account_row(older))
    for state in ("PENDING", "RUNNING"):
        cluster.queue(watched.queue_row(state, restarts=1, started_s=200))
        watched.look(10)
    assert (watched.attempt().restarts, watched.modes()) == (1, [])
    cluster.queue(watched.queue_row("COMPLETED", restarts=1, started_s=200))
    cluster.accounting(watched.account_row("COMPLETED", started_s=200))
    watched.leave_record(restarts=1)
    watched.look(10)
    assert (watched.modes(), len(cluster.calls("sbatch"))) == (["success"], 1)


def test_race_05_the_record_that_the_run_before_a_requeue_left_is_not_this_runs(watch, cluster):
    watched = watch(restart={"max_restarts": 0})
    watched.submit()
    watched.leave_record(returncode=0, restarts=0)
    cluster.queue(watched.queue_row("RUNNING", restarts=1))
    watched.look()
    cluster.queue(watched.queue_row("FAILED", restarts=1, code=3 << 8))
    watched.look(10)
    watched.look(60)
    assert watched.modes() == ["crash"]
    assert "exit code 3" in watched.attempt().reason


def test_race_09_a_tasks_own_row_counts_before_the_row_of_a_range(array, cluster):
    token = array.attempt().token
    own = account_row("101_2", "COMPLETED", name=token)
    listed = account_row("101_[1-2%2]", "CANCELLED by 0", name=token)
    cluster.queue(queue_row("101_0", "RUNNING", name=token))
    for rows in ((own, listed), (listed, own)):
        cluster.accounting(*rows)
        array.look(1)
    assert states(array) == ["RUNNING", "CANCELLED", "COMPLETED"]


def test_race_09_tasks_are_told_by_array_id_and_index_whatever_id_of_their_own_they_have(array, cluster):
    """A task that starts gets a job id of its own; scancel, squeue and sacct all take array id and index."""
    token = array.attempt().token
    cluster.queue(*(queue_row(f"101_{n}", "RUNNING", name=token) for n in range(3)))
    array.look(1)
    (asked,) = cluster.calls("sacct")
    (queue,) = cluster.calls("squeue")
    assert "JobIDRaw" not in asked and "JobID," in asked
    assert "JobArrayID" in queue and "--array" in queue and "--array" not in asked  # sacct has no such option
    assert [array.attempt(n).job_id for n in range(3)] == ["101_0", "101_1", "101_2"]


def test_race_10_a_task_in_no_source_beside_living_siblings_is_a_cancelled_one_after_the_grace_time(array, cluster):
    token = array.attempt().token
    cluster.queue(*(queue_row(f"101_{n}", "PENDING", name=token) for n in range(3)))
    array.look(1)
    cluster.queue(queue_row("101_0", "RUNNING", name=token), queue_row("101_2", "PENDING", name=token))
    array.look(1)
    assert (states(array), array.modes()) == (["RUNNING", "PENDING", "PENDING"], [])
    array.look(61)
    assert array.modes() == ["cancelled"]
    assert [array.entry(n).over for n in range(3)] == [False, True, False]


@pytest.mark.parametrize("listed", ["101_[0,2,...]", "101_[0-1,...%2]", "101_[...]", "101_[0-1,2", "101_[0-"])
def test_race_11_a_list_of_tasks_that_is_cut_short_says_nothing_of_any_task(array, cluster, listed):
    token = array.attempt().token
    cluster.queue(*(queue_row(f"101_{n}", "PENDING", name=token) for n in range(3)))
    cluster.accounting(account_row(listed, "CANCELLED by 0", name=token))
    array.look(1)
    assert (states(array), array.modes()) == (["PENDING"] * 3, [])


def test_race_11_squeue_is_asked_for_a_row_per_task_so_that_it_has_no_list_to_cut(array, cluster):
    array.look(1)
    assert all("--array" in call.split() for call in cluster.calls("squeue"))


def test_race_12_queries_name_the_user_and_no_ids_so_that_an_unknown_one_hides_nothing(watch, cluster):
    watched = watch(sweep=[0, 1])
    watched.submit()
    cluster.queue(watched.queue_row("RUNNING", 1))
    watched.look(1)
    assert watched.attempt(0).missing_since is not None and watched.attempt(1).state.is_running
    for call in (*cluster.calls("squeue"), *cluster.calls("sacct")):
        assert "101" not in call and any(word.startswith(("--user=", "--uid=")) for word in call.split())


def test_race_15_a_job_of_our_name_from_before_the_session_is_not_ours(watch, cluster):
    watched = watch()
    watched.submit()
    long_ago = account_row("9", "FAILED", name=watched.attempt().token).replace("2026-01-01", "2025-01-01")
    cluster.queue(watched.queue_row("PENDING"))
    cluster.accounting(long_ago)
    watched.look()
    assert (watched.attempt().job_id, watched.attempt().state.value) == ("101", "PENDING")


def test_race_16_a_job_that_came_and_went_between_two_looks_is_judged_by_its_end(watch, cluster):
    watched = watch()
    watched.submit()
    cluster.accounting(watched.account_row("COMPLETED"))
    watched.leave_record()
    watched.look(600)
    assert [event.state for event in watched.events("Observed")] == ["COMPLETED"]
    assert watched.modes() == ["success"]


def test_race_20_a_preempted_job_that_slurm_requeues_is_the_same_attempt(watch, cluster):
    watched = watch(restart_policies=RESTARTED_WHEN_PREEMPTED)
    watched.submit()
    cluster.queue(watched.queue_row("RUNNING"))
    watched.look()
    cluster.accounting(watched.account_row("PREEMPTED"))
    cluster.queue(watched.queue_row("PENDING", restarts=1, reason="BeginTime"))
    watched.look(30)
    assert (watched.modes(), len(cluster.calls("sbatch"))) == ([], 1)


def test_race_20_a_preempted_job_that_is_gone_is_restarted_once(watch, cluster):
    watched = watch(restart_policies=RESTARTED_WHEN_PREEMPTED, restart={"backoff_s": 0})
    watched.submit()
    cluster.queue(watched.queue_row("RUNNING"))
    watched.look()
    first = watched.account_row("PREEMPTED")
    cluster.queue()
    cluster.accounting(first)
    watched.look(30)
    watched.look(30)
    assert (watched.modes(), len(cluster.calls("sbatch"))) == (["preempted"], 2)


def test_race_20_while_the_queue_is_silent_accounting_alone_does_not_end_a_preempted_job(watch, cluster):
    """It may be in the queue again: a second job beside it would write into the same folders."""
    watched = watch(restart_policies=RESTARTED_WHEN_PREEMPTED)
    watched.submit()
    cluster.queue(watched.queue_row("RUNNING"))
    watched.look()
    cluster.accounting(watched.account_row("PREEMPTED"))
    cluster.fail("squeue")
    watched.look(30)
    assert (watched.modes(), len(cluster.calls("sbatch"))) == ([], 1)
    cluster.mend("squeue")
    cluster.queue(watched.queue_row("PENDING", restarts=1))
    watched.look(30)
    assert (watched.attempt().state.value, len(cluster.calls("sbatch"))) == ("PENDING", 1)


def test_race_15_a_job_of_another_name_under_our_id_is_somebody_elses(watch, cluster):
    """A controller that lost its state begins to count anew: the id in the journal may be anybody's by now."""
    watched = watch(monitoring={"missing_grace_s": 60.0, "inactivity_s": 10.0}, restart_policies=[])
    watched.submit()
    cluster.queue(watched.queue_row("RUNNING"))
    watched.look()
    cluster.queue(watched.queue_row("RUNNING", name="ob-00000002-other-a1"))
    cluster.accounting(watched.account_row("COMPLETED", name="ob-00000002-other-a1"))
    watched.look(30)
    watched.look(61)
    assert (watched.modes(), cluster.calls("scancel")) == (["lost"], [])
