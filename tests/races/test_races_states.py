"""Races 13, 14 and 17 to 19: a scheduler that is away, ends by whomever, states that are no end."""

from __future__ import annotations

import json

import pytest

from oellm_bench.core.job import JobState
from tests.races.scripted import account_row

QUICK = {"class_name": "CommandBackend", "command": "true"}
ALWAYS = [{"mode": "crash", "implementation": {"class_name": "AlwaysRestartPolicy"}}]
STALLS = {"inactivity_s": 60.0, "missing_grace_s": 120.0}
NO_END = [state for state in JobState if not state.is_terminal and state is not JobState.RUNNING]


def running(watched, cluster):
    """Submit the only entry and see it run."""
    watched.submit()
    cluster.queue(watched.queue_row("RUNNING"))
    watched.look()
    return watched


def test_race_13_while_the_controller_is_away_one_probe_a_look_is_made_and_no_state_changes(watch, cluster):
    watched = running(watch(), cluster)
    for command in ("squeue", "sacct", "sbatch", "scancel"):
        cluster.fail(command)
    before = len(cluster.calls("squeue"))
    journal = watched.session.state_layout.journal(watched.session.id).read_bytes()
    cycles = [watched.look(30) for _ in range(20)]
    assert not any(cycle.answered or cycle.finished for cycle in cycles)
    assert len(cluster.calls("squeue")) - before == 20
    assert watched.session.state_layout.journal(watched.session.id).read_bytes() == journal


def test_race_13_what_is_due_meanwhile_is_sent_when_the_controller_is_back(watch, cluster):
    cluster.fail("sbatch")
    cluster.fail("squeue")
    cluster.fail("sacct")
    watched = watch(sweep=[0, 1])
    watched.submit()
    watched.look(300)
    for command in ("sbatch", "squeue", "sacct"):
        cluster.mend(command)
    watched.look(300)
    assert [watched.attempt(n).job_id for n in (0, 1)] == ["101", "102"]


def test_race_13_an_outage_of_the_embedded_scheduler_loses_nothing(campaign):
    client = {"class_name": "FakeSlurmClient", "faults": [{"kind": "outage", "seconds": 2}]}
    campaign.write(backend=QUICK, slurm={"client": client}, sweep={"axes": {"n": [1, 2, 3]}})
    campaign.run("submit")
    assert campaign.run("monitor").returncode == 0
    assert len(campaign.jobs_by_token()) == 3 and set(campaign.jobs_by_token().values()) == {1}


def test_race_13_while_the_controller_is_away_no_stall_clock_runs(watch, cluster):
    watched = running(watch(monitoring=STALLS), cluster)
    cluster.fail("squeue")
    cluster.fail("sacct")
    for _ in range(20):
        watched.look(30)
    cluster.mend("squeue")
    cluster.mend("sacct")
    watched.look(30)
    assert watched.events("CancelAsked") == []
    watched.look(35)
    assert [event.by for event in watched.events("CancelAsked")] == ["stall"]


def test_race_14_while_accounting_is_down_the_queue_and_the_jobs_own_record_tell(watch, cluster):
    watched = running(watch(), cluster)
    cluster.fail("sacct", "Problem talking to the database: Connection refused")
    cluster.queue(watched.queue_row("COMPLETED"))
    watched.leave_record()
    watched.look(30)
    assert watched.modes() == ["success"]


@pytest.mark.parametrize(("returncode", "mode"), [(0, "success"), (255, "crash")])
def test_race_14_without_accounting_the_jobs_own_record_is_what_is_left_of_it(watch, cluster, returncode, mode):
    cluster.fail("sacct", "Slurm accounting storage is disabled")
    watched = running(watch(restart={"max_restarts": 0}), cluster)
    watched.leave_record(returncode=returncode)
    cluster.queue()
    watched.look(30)
    assert watched.modes() == [mode]
    assert len(cluster.calls("sacct")) == 1  # what says that it is disabled is not asked again


def test_race_17_a_cancel_by_somebody_else_is_a_cancel_and_not_restarted(watch, cluster):
    watched = running(watch(restart_policies=ALWAYS), cluster)
    cluster.queue()
    cluster.accounting(watched.account_row("CANCELLED by 1234", code="0:15"))
    watched.leave_record(returncode=-15, failure="cancelled", message="received SIGTERM")
    assert watched.look(30).finished
    assert (watched.modes(), len(cluster.calls("sbatch"))) == (["cancelled"], 1)
    assert "1234" in watched.attempt().reason


def test_race_17_a_time_limit_is_a_timeout_though_its_steps_are_cancelled(watch, cluster):
    watched = running(watch(restart_policies=[]), cluster)
    job, token = watched.attempt().job_id, watched.attempt().token
    cluster.queue()
    cluster.accounting(
        account_row(job, "TIMEOUT", name=token, code="0:0"),
        account_row(f"{job}.batch", "CANCELLED", name="batch", code="0:15"),
        account_row(f"{job}.0", "CANCELLED by 0", name="python", code="0:15"),
    )
    watched.look(30)
    assert watched.modes() == ["timeout"]


def test_race_17_a_cancel_of_our_own_is_in_the_journal_before_scancel_is_called(watch, cluster):
    watched = running(watch(monitoring=STALLS, restart_policies=[]), cluster)
    journal = watched.session.state_layout.journal(watched.session.id)
    cluster.then("scancel", f'cp "{journal}" "$folder/journal-then"\n')
    watched.look(61)
    assert '"CancelAsked"' in (cluster.folder / "journal-then").read_text().splitlines()[-1]
    cluster.queue(watched.queue_row("CANCELLED"))
    watched.look(1)
    assert watched.modes() == ["stall"]


def test_race_17_a_cancel_that_got_lost_on_its_way_is_told_again_by_the_next_monitor(watch, cluster):
    watched = running(watch(monitoring=STALLS), cluster)
    cluster.fail("scancel")
    watched.look(61)
    cluster.mend("scancel")
    watched.another_monitor().step()
    assert cluster.calls("scancel") == ["scancel 101"] * 2


@pytest.mark.parametrize("state", ["COMPLETED", "CANCELLED by 0"])
def test_race_18_a_job_that_succeeded_before_its_cancel_came_has_succeeded(watch, cluster, state):
    watched = running(watch(monitoring=STALLS), cluster)
    cluster.then("scancel", 'echo "error: Kill job error on job id 101: Job/step already completing" >&2; exit 1\n')
    watched.look(61)
    assert cluster.calls("scancel") == ["scancel 101"]
    watched.leave_record()
    cluster.queue()
    cluster.accounting(watched.account_row(state))
    assert watched.look(1).finished
    assert watched.modes() == ["success"]


def test_race_18_what_failed_before_a_cancel_keeps_its_own_cause_and_is_not_restarted(campaign):
    campaign.write(backend={"class_name": "CommandBackend", "command": "exit 4"}, restart_policies=ALWAYS)
    session = campaign.json("submit")["session"]
    campaign.wait(lambda: campaign.json("status", session)["entries"][0]["state"] == "FAILED")
    campaign.run("cancel", session)
    assert campaign.run("monitor").returncode == 1
    (row,) = campaign.json("results", session)["entries"]
    assert (row["error_mode"], row["attempts"]) == ("crash", 1)
    decided = [event for event in campaign.journal() if event["event"] == "Decided"]
    assert [(event["restart"], event["reason"]) for event in decided] == [(False, "cancelled by the user")]


@pytest.mark.parametrize("state", NO_END, ids=lambda state: state.value)
def test_race_19_a_state_that_is_no_end_ends_nothing_and_stops_the_stall_clock(watch, cluster, state):
    watched = running(watch(monitoring=STALLS), cluster)
    cluster.queue(watched.queue_row(state.value))
    watched.look(30)
    watched.look(10_000)
    assert (watched.modes(), cluster.calls("scancel")) == ([], [])
    assert watched.attempt().state is state


def test_race_19_a_state_that_nobody_has_heard_of_ends_nothing(watch, cluster):
    watched = running(watch(monitoring=STALLS), cluster)
    cluster.queue(watched.queue_row("DAYDREAMING"))
    watched.look(30)
    watched.look(10_000)
    assert (watched.modes(), watched.attempt().state) == ([], JobState.UNKNOWN)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        ("PENDING", "JobHeldAdmin"),
        ("PENDING", "JobHeldUser"),
        ("PENDING", "launch failed requeued held"),
        ("PENDING", "launch_failed_requeued_held"),
        ("REQUEUE_HOLD", "None"),
        ("SPECIAL_EXIT", "None"),
        ("RESV_DEL_HOLD", "None"),
    ],
)
def test_race_19_a_job_that_is_held_is_told_once_and_left_as_it_is(watch, cluster, state, reason):
    watched = watch()
    watched.submit()
    cluster.queue(watched.queue_row(state, reason=reason))
    for _ in range(3):
        watched.look(3600)
    (notice,) = watched.events("Noticed")
    assert "job 101 is held" in notice.message
    assert (watched.modes(), cluster.calls("scancel")) == ([], [])


def test_race_19_the_time_that_a_job_was_suspended_is_no_silence(watch, cluster):
    watched = running(watch(monitoring=STALLS), cluster)
    cluster.queue(watched.queue_row("SUSPENDED"))
    watched.look(30)
    watched.look(10_000)
    cluster.queue(watched.queue_row("RUNNING"))
    watched.look(30)
    watched.look(30)
    assert watched.events("CancelAsked") == []
    watched.look(65)
    assert [event.by for event in watched.events("CancelAsked")] == ["stall"]


def test_race_19_a_monitor_that_comes_after_a_suspension_knows_of_it(watch, cluster):
    watched = running(watch(monitoring=STALLS), cluster)
    cluster.queue(watched.queue_row("SUSPENDED"))
    watched.look(30)
    cluster.queue(watched.queue_row("RUNNING"))
    watched.look(10_000)
    watched.clock.sleep(30)
    watched.another_monitor().step()
    assert watched.events("CancelAsked") == []


def test_race_19_the_time_that_a_job_was_suspended_is_no_standstill(watch, cluster):
    """The heartbeat of a suspended job stops too; its first one afterwards finds an old iteration."""
    backend = {**QUICK, "progress": r"iteration (?P<iteration>\d+)"}
    watched = running(watch(backend=backend, monitoring={"progress_s": 60.0}), cluster)
    advanced_at = watched.clock.now()
    cluster.queue(watched.queue_row("SUSPENDED"))
    watched.look(10_000)
    cluster.queue(watched.queue_row("RUNNING"))
    for stalls in (0, 0, 1):
        now = watched.clock.now() + 40
        beat = {"attempt": 1, "at": now, "progress": {"iteration": 5, "at": advanced_at}}
        watched.files().heartbeat.write_text(json.dumps(beat))
        watched.look(40 if stalls else 25)
        assert len(watched.events("CancelAsked")) == stalls
