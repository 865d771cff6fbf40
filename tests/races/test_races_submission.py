"""Races 1 to 3 and 25: whether a job was submitted, how often, and which."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.races.scripted import GRACE_S, account_row, queue_row

TIMED_OUT = "Batch job submission failed: Socket timed out on send/recv operation"
NEVER_ENDS = {"class_name": "CommandBackend", "command": "sleep 300"}
QUICK = {"class_name": "CommandBackend", "command": "true"}

# The embedded scheduler takes the job, and nobody is left to note its answer.
KILLED_BEFORE_THE_ANSWER = """
import os, signal, sys
from oellm_bench.cli.main import main
from oellm_bench.schedulers.fake import FakeSlurmClient

submit = FakeSlurmClient.submit
FakeSlurmClient.submit = lambda *arguments: (submit(*arguments), os.kill(os.getpid(), signal.SIGKILL))
sys.exit(main(sys.argv[1:]))
"""


def test_race_01_a_job_whose_sbatch_timed_out_is_found_and_not_sent_again(watch, cluster):
    cluster.fail("sbatch", TIMED_OUT)
    watched = watch()
    watched.submit()
    cluster.mend("sbatch")
    cluster.queue(queue_row("17", "PENDING", name=watched.attempt().token))
    watched.look()
    watched.look(10 * GRACE_S)
    assert (watched.attempt().job_id, len(cluster.calls("sbatch"))) == ("17", 1)


def test_race_01_a_job_that_ended_before_anybody_looked_is_found_in_accounting(watch, cluster):
    cluster.fail("sbatch", TIMED_OUT)
    watched = watch(restart={"max_restarts": 0})
    watched.submit()
    cluster.mend("sbatch")
    cluster.accounting(account_row("17", "FAILED", name=watched.attempt().token, code="3:0"))
    watched.look(10)
    watched.look(10 * GRACE_S)
    assert (watched.modes(), len(cluster.calls("sbatch"))) == (["crash"], 1)


@pytest.mark.parametrize("silent", ["squeue", "sacct"])
def test_race_01_it_is_sent_again_only_when_both_sources_say_after_the_grace_time_that_it_is_not_there(
    watch, cluster, silent
):
    cluster.fail("sbatch", TIMED_OUT)
    watched = watch()
    watched.submit()
    cluster.mend("sbatch")
    watched.look(GRACE_S / 2)
    cluster.fail(silent)
    watched.look(10 * GRACE_S)
    assert len(cluster.calls("sbatch")) == 1
    cluster.mend(silent)
    watched.look(1)
    first, second = cluster.calls("sbatch")
    assert first == second and watched.attempt().job_id == "101"


def test_race_01_lost_answers_of_the_embedded_scheduler_make_no_duplicates(campaign):
    client = {"class_name": "FakeSlurmClient", "faults": [{"kind": "sbatch_timeout", "count": 2}]}
    campaign.write(backend=QUICK, slurm={"client": client}, sweep={"axes": {"n": [1, 2, 3]}})
    assert campaign.run("submit").returncode == 4
    assert campaign.run("monitor").returncode == 0
    assert len(campaign.jobs_by_token()) == 3 and set(campaign.jobs_by_token().values()) == {1}
    adopted = [event for event in campaign.journal() if event["event"] == "Submitted" and event["adopted"]]
    assert adopted


@pytest.mark.parametrize("array", [False, True])
def test_race_02_a_submitter_killed_before_it_could_note_the_id_leaves_no_job_alone(campaign, array):
    campaign.write(backend=NEVER_ENDS, slurm={"array": array}, sweep={"axes": {"n": [1, 2, 3]}})
    argv = [sys.executable, "-c", KILLED_BEFORE_THE_ANSWER, *campaign.argv("submit")[3:]]
    killed = subprocess.run(argv, cwd=campaign.folder, capture_output=True, timeout=60, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(campaign.jobs_by_token()) == (3 if array else 1)
    assert campaign.run("submit").returncode == 0
    jobs = {row["job_id"] for row in campaign.json("status")["entries"]}
    assert jobs == ({"1_0", "1_1", "1_2"} if array else {"1", "2", "3"})
    assert set(campaign.jobs_by_token().values()) == {1}
    campaign.run("cancel", campaign.session_dir.name)
    campaign.run("monitor")


def test_race_02_an_intent_is_on_disk_before_sbatch_is_called(watch, cluster):
    watched = watch()
    journal = watched.session.state_layout.journal(watched.session.id)
    cluster.then("sbatch", f'cp "{journal}" "$folder/journal-then"\n')
    watched.submit()
    assert '"Intended"' in (cluster.folder / "journal-then").read_text().splitlines()[-1]


def test_race_02_tasks_are_adopted_by_the_name_of_their_array(watch, cluster):
    """The comment of a job, another possible key, is missing from accounting while the job runs (22.05)."""
    cluster.fail("sbatch", TIMED_OUT)
    watched = watch(slurm={"array": True}, sweep=[0, 1, 2])
    watched.submit()
    token = watched.attempt().token
    cluster.queue(queue_row("17_1", "RUNNING", name=token), queue_row("17_2", "PENDING", name=token))
    cluster.accounting(account_row("17_0", "COMPLETED", name=token), account_row("17_1", "RUNNING", name="allocation"))
    watched.look(5)
    assert [watched.attempt(n).job_id for n in range(3)] == ["17_0", "17_1", "17_2"]
    assert [watched.attempt(n).state.value for n in range(3)] == ["COMPLETED", "RUNNING", "PENDING"]


def test_race_03_of_two_jobs_under_one_name_the_journalled_one_goes_on(watch, cluster):
    watched = watch()
    watched.submit()
    twin = queue_row("90", "RUNNING", name=watched.attempt().token)
    cluster.queue(twin, watched.queue_row("PENDING"))
    watched.look()
    assert cluster.calls("scancel") == ["scancel 90"]
    cluster.queue(watched.queue_row("RUNNING"))
    watched.look(30)
    assert (watched.attempt().job_id, watched.attempt().cancel_by) == ("101", "")


@pytest.mark.parametrize(
    ("states", "kept"),
    [({"17": "PENDING", "18": "RUNNING"}, "18"), ({"18": "RUNNING", "17": "RUNNING"}, "17")],
    ids=["the one that runs", "the older one"],
)
def test_race_03_of_two_jobs_that_nobody_knows_one_is_adopted_and_the_other_cancelled(watch, cluster, states, kept):
    cluster.fail("sbatch", TIMED_OUT)
    watched = watch()
    watched.submit()
    cluster.queue(*(queue_row(job, state, name=watched.attempt().token) for job, state in states.items()))
    watched.look()
    (other,) = states.keys() - {kept}
    assert watched.attempt().job_id == kept
    assert cluster.calls("scancel") == [f"scancel {other}"]


def test_race_03_jobs_of_other_attempts_entries_and_sessions_are_no_duplicates(watch, cluster):
    watched = watch(sweep=[0, 1])
    watched.submit()
    token = watched.attempt().token
    others = (f"{token[:-1]}2", token.replace("00000001", "00000002"), f"{token}0", "somebody-elses")
    rows = [queue_row(str(200 + n), "RUNNING", name=name) for n, name in enumerate(others)]
    cluster.queue(watched.queue_row("RUNNING"), watched.queue_row("RUNNING", 1), *rows)
    watched.look()
    assert cluster.calls("scancel") == []


def test_race_03_a_duplicate_that_has_ended_already_is_left_in_peace(watch, cluster):
    watched = watch()
    watched.submit()
    cluster.queue(watched.queue_row("RUNNING"), queue_row("90", "COMPLETED", name=watched.attempt().token))
    watched.look()
    assert (cluster.calls("scancel"), watched.attempt().state.value) == ([], "RUNNING")


def test_race_25_a_script_that_was_edited_after_it_was_planned_is_not_submitted(watch, cluster):
    crash = [{"mode": "crash", "implementation": {"class_name": "AlwaysRestartPolicy"}}]
    watched = watch(sweep=[0, 1], restart_policies=crash, restart={"backoff_s": 0})
    watched.submit()
    watched.leave_record(returncode=1)
    cluster.queue(watched.queue_row("FAILED", code=1 << 8), watched.queue_row("RUNNING", 1))
    script = watched.session.layout.root / watched.monitor.plan.entries[0].script
    script.write_text(script.read_text().replace("#SBATCH --time=", "#SBATCH --time=1-"))
    watched.look(1)
    watched.look(1)
    assert len(cluster.calls("sbatch")) == 2
    assert watched.modes() == ["crash", "submit_rejected"]
    assert "was changed after it was planned" in watched.attempt().reason
