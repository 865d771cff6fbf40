"""Every misbehaviour that can be asked for, by configuration and while jobs run."""

import subprocess
import sys
import time

import pytest

from oellm_bench.core.job import JobState
from oellm_bench.errors import ConfigError, SchedulerUnavailable, SubmissionUnclear, UsageError

RUNS_ON = '[ -n "$SLURM_RESTART_COUNT" ] && exit 0; echo up >up; sleep 300'


def test_node_failure_kills_the_jobs_of_that_node_only(cluster):
    cluster.configure(nodes=2, cpus_per_node=1)
    options = {"no-requeue": "", "output": "%x.txt"}
    first = cluster.submit("echo up; sleep 300", name="first", options=options)
    second = cluster.submit("echo up; while [ ! -e go ]; do sleep 0.02; done", name="second", options=options)
    cluster.wait_text("first.txt", "up")
    cluster.wait_text("second.txt", "up")
    cluster.fault("node_fail", node=cluster.row(first).nodes)
    row = cluster.wait_ended(first)
    assert (row.state, row.reason) == (JobState.NODE_FAIL, "NodeDown")
    assert "DUE TO NODE FAILURE, SEE SLURMCTLD LOG FOR DETAILS ***" in cluster.wait_text("first.txt", "DUE")
    (cluster.folder / "go").touch()
    assert cluster.wait_ended(second).state is JobState.COMPLETED


def test_job_of_a_failed_node_runs_again_under_its_id(cluster):
    job_id = cluster.submit(RUNS_ON)
    cluster.wait_text("up")
    cluster.fault("node_fail", node="node1")
    assert cluster.wait_state(job_id, JobState.COMPLETED).restarts == 1


def test_failed_node_takes_no_jobs_until_it_is_back(cluster):
    cluster.configure(nodes=2)
    first = cluster.submit("true")
    cluster.wait_ended(first)
    cluster.fault("node_fail", node="node1", down_s=60)
    second = cluster.submit("true")
    assert cluster.wait_ended(second).nodes == "node2"


def test_preempted_job_gets_term_and_ends_as_preempted(cluster):
    body = "trap 'echo saved >saved; exit 0' TERM; echo up >up; sleep 300 & wait"
    job_id = cluster.submit(body, options={"no-requeue": "", "output": "out.txt"})
    cluster.wait_text("up")
    cluster.fault("preempt", job=str(job_id))
    assert cluster.wait_ended(job_id).state is JobState.PREEMPTED
    assert cluster.wait_text("saved") == "saved\n"
    assert "DUE TO PREEMPTION ***" in cluster.wait_text("out.txt", "DUE")


def test_preempted_job_runs_again_where_it_may(cluster):
    job_id = cluster.submit(RUNS_ON)
    cluster.wait_text("up")
    cluster.fault("preempt", job="job")
    assert cluster.wait_state(job_id, JobState.COMPLETED).restarts == 1


def test_cancelling_a_job_that_would_run_again_ends_it(cluster):
    cluster.configure(requeue_delay_s=3600)
    job_id = cluster.submit(RUNS_ON)
    cluster.wait_text("up")
    cluster.fault("preempt", job="job")
    cluster.wait_state(job_id, JobState.PENDING, reason="BeginTime")
    cluster.client.cancel([job_id])
    assert cluster.wait_ended(job_id).state is JobState.CANCELLED


def test_oom_is_reported_as_slurm_does(cluster):
    job_id = cluster.submit("trap '' TERM; echo up >up; sleep 300", options={"output": "out.txt", "error": "err.txt"})
    cluster.wait_text("up")
    cluster.fault("oom", job=str(job_id))
    row = cluster.wait_ended(job_id)
    assert (row.state, row.exit_code, row.signal) == (JobState.OUT_OF_MEMORY, 0, 125)
    assert "oom-kill event(s) in StepId=1.batch" in cluster.wait_text("err.txt", "oom")


def test_submission_that_times_out_has_made_its_job(cluster):
    cluster.fault("sbatch_timeout", count=1)
    with pytest.raises(SubmissionUnclear, match="Socket timed out on send/recv operation"):
        cluster.submit("true", name="unclear")
    assert [row.name for row in cluster.rows().values()] == ["unclear"]
    cluster.submit("true", name="clear")


def test_outage_leaves_only_accounting_to_ask(cluster):
    job_id = cluster.submit("true")
    cluster.wait_ended(job_id)
    cluster.fault("outage", seconds=1)
    with pytest.raises(SchedulerUnavailable):
        cluster.submit("true")
    with pytest.raises(SchedulerUnavailable):
        cluster.client.cancel([job_id])
    with pytest.raises(SchedulerUnavailable):
        cluster.client.limits()
    snapshot = cluster.client.snapshot("", 0)
    assert (snapshot.queue_answered, snapshot.accounting_answered) == (False, True)
    assert [row.job_id for row in snapshot.jobs] == [job_id]
    cluster.wait(lambda: cluster.client.snapshot("", 0).queue_answered)
    assert cluster.submit("true") > job_id


def test_lagging_accounting_shows_the_past(cluster):
    cluster.configure(min_job_age_s=0)  # the queue view forgets at once: accounting alone answers for it
    cluster.fault("accounting_lag", seconds=1)
    job_id = cluster.submit("true")
    cluster.wait(lambda: job_id not in cluster.rows())
    assert cluster.wait(lambda: cluster.rows().get(job_id)).state in (
        JobState.PENDING,
        JobState.RUNNING,
        JobState.COMPLETED,
    )
    row = cluster.wait_state(job_id, JobState.COMPLETED)
    assert time.time() >= row.ended_at + 1


def test_accounting_that_is_down_says_so(cluster):
    job_id = cluster.submit("true")
    cluster.wait_ended(job_id)
    cluster.fault("accounting_down", seconds=60)
    snapshot = cluster.client.snapshot("", 0)
    assert (snapshot.queue_answered, snapshot.accounting_answered) == (True, False)
    assert [row.job_id for row in snapshot.jobs] == [job_id]


def test_faults_of_the_configuration_count_from_the_first_submission(cluster):
    cluster.configure(faults=({"kind": "node_fail", "node": "node1", "after_s": 0.5},))
    job_id = cluster.submit("sleep 300", options={"no-requeue": ""})
    row = cluster.wait_ended(job_id)
    assert row.state is JobState.NODE_FAIL
    assert row.ended_at - row.submitted_at >= 0.5


def test_faults_of_the_configuration_strike_once(cluster):
    cluster.configure(faults=({"kind": "sbatch_timeout"},))
    with pytest.raises(SubmissionUnclear):
        cluster.submit("true")
    assert cluster.submit("true").job == 2


def test_fault_for_a_job_by_configuration_waits_for_its_start(cluster):
    cluster.configure(faults=({"kind": "oom", "job": 2},))
    cluster.wait_ended(cluster.submit("true", name="first"))
    second = cluster.submit("sleep 300", name="second")
    assert cluster.wait_ended(second).state is JobState.OUT_OF_MEMORY


def test_fault_command_line(cluster):
    job_id = cluster.submit("echo up >up; sleep 300")
    cluster.wait_text("up")
    module = "oellm_bench.schedulers.embedded.fault"
    subprocess.run([sys.executable, "-m", module, cluster.queue, "oom", f"job={job_id}"], check=True, timeout=60)
    assert cluster.wait_ended(job_id).state is JobState.OUT_OF_MEMORY


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"kind": "flood"}, "unknown fault 'flood'; valid: node_fail"),
        ({"kind": "outage"}, "fault 'outage' needs 'seconds'"),
        ({"kind": "outage", "seconds": "long"}, "'seconds' of a fault is 'long'"),
        ({"kind": "oom", "job": "1", "node": "node1"}, "takes no 'node'"),
    ],
    ids=["kind", "missing", "number", "extra"],
)
def test_unusable_fault_is_refused(cluster, fault, says):
    with pytest.raises(ConfigError, match=says):
        cluster.configure(faults=(fault,))
    with pytest.raises(UsageError, match=says):
        cluster.fault(**fault)
