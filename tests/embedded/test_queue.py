"""What waits for what, where jobs run, and what is remembered of them."""

import time

import pytest

from oellm_bench.core.job import JobId, JobState
from oellm_bench.errors import QueueFull, SchedulerError, SubmissionRejected
from oellm_bench.schedulers.base import SubmitRequest

HOLD_UNTIL_GO = "while [ ! -e go ]; do sleep 0.02; done"
RERUN = 'echo "run ${SLURM_RESTART_COUNT-first}"; [ -n "$SLURM_RESTART_COUNT" ] && exit 0; sleep 300'


def go(cluster):
    (cluster.folder / "go").touch()


def test_job_without_room_waits_for_resources_and_the_next_for_priority(cluster):
    cluster.configure(cpus_per_node=2)
    first = cluster.submit(HOLD_UNTIL_GO, options={"cpus-per-task": "2"})
    cluster.wait_state(first, JobState.RUNNING)
    second = cluster.submit("true", options={"cpus-per-task": "2"})
    third = cluster.submit("true", options={"cpus-per-task": "2"})
    cluster.wait_state(second, JobState.PENDING, reason="Resources")
    cluster.wait_state(third, JobState.PENDING, reason="Priority")
    go(cluster)
    cluster.wait_state(third, JobState.COMPLETED)
    assert cluster.row(second).started_at <= cluster.row(third).started_at


def test_jobs_at_once_never_share_a_gpu(cluster):
    cluster.configure(cpus_per_node=8, gpus_per_node=3)
    # The job fails where another one holds the same GPU.
    body = 'for gpu in ${CUDA_VISIBLE_DEVICES//,/ }; do mkdir "gpu$gpu" || exit 9; done; sleep 0.1; rmdir gpu*'
    body = body.replace("rmdir gpu*", 'for gpu in ${CUDA_VISIBLE_DEVICES//,/ }; do rmdir "gpu$gpu"; done')
    for count in ("1", "2", "1", "3", "2"):
        cluster.submit(body, options={"gpus": count, "output": "/dev/null"})
    cluster.wait(lambda: all(row.state.is_terminal for row in cluster.rows().values()))
    assert {row.state for row in cluster.rows().values()} == {JobState.COMPLETED}


def test_job_is_told_its_gpus_and_cpus(cluster):
    cluster.configure(nodes=3, gpus_per_node=4)
    body = (
        'echo "$SLURM_JOB_NODELIST $SLURM_JOB_NUM_NODES $SLURM_GPUS_ON_NODE $SLURM_JOB_GPUS'
        ' $SLURM_JOB_CPUS_PER_NODE $SLURM_CPUS_PER_TASK $SLURM_NTASKS"'
    )
    options = {"nodes": "2", "ntasks": "4", "cpus-per-task": "2", "gpus": "4", "output": "told.txt"}
    row = cluster.wait_ended(cluster.submit(body, options=options))
    assert cluster.wait_text("told.txt") == "node[1-2] 2 2 0,1 4(x2) 2 4\n"
    assert row.nodes == "node[1-2]"


def test_exclusive_job_has_its_node_alone(cluster):
    first = cluster.submit(HOLD_UNTIL_GO, options={"exclusive": ""})
    cluster.wait_state(first, JobState.RUNNING)
    second = cluster.submit("true")
    cluster.wait_state(second, JobState.PENDING, reason="Resources")
    go(cluster)
    cluster.wait_state(second, JobState.COMPLETED)


def test_throttle_shows_as_the_reason_of_waiting_tasks(cluster):
    job_id = cluster.submit(HOLD_UNTIL_GO, tasks=(0, 1), max_parallel=1, options={"output": "/dev/null"})
    cluster.wait_state(JobId(job_id.job, 1), JobState.PENDING, reason="JobArrayTaskLimit")
    assert cluster.row(JobId(job_id.job, 0)).state is JobState.RUNNING
    go(cluster)
    cluster.wait_ended(JobId(job_id.job, 1))


def test_begin_time_is_waited_for(cluster):
    job_id = cluster.submit("true", options={"begin": "now+1"})
    cluster.wait_state(job_id, JobState.PENDING, reason="BeginTime")
    row = cluster.wait_ended(job_id)
    assert row.started_at >= row.submitted_at + 1


def test_held_job_starts_when_it_is_released(cluster):
    job_id = cluster.submit("true", options={"hold": ""})
    cluster.wait(lambda: not cluster.controllers())
    assert (cluster.row(job_id).state, cluster.row(job_id).reason) == (JobState.PENDING, "JobHeldUser")
    cluster.client.release(job_id)
    assert cluster.wait_ended(job_id).state is JobState.COMPLETED


def test_dependency_that_failed_is_never_satisfied(cluster):
    first = cluster.submit("exit 1")
    second = cluster.submit("true", options={"dependency": f"afterok:{first}"})
    cluster.wait_state(second, JobState.PENDING, reason="DependencyNeverSatisfied")
    cluster.wait(lambda: not cluster.controllers())


def test_job_with_an_impossible_dependency_is_cancelled_on_request(cluster):
    first = cluster.submit("exit 1")
    options = {"dependency": f"afterok:{first}", "kill-on-invalid-dep": "yes"}
    row = cluster.wait_ended(cluster.submit("true", options=options))
    assert (row.state, row.started_at, row.cancelled_by) == (JobState.CANCELLED, None, "")


@pytest.mark.parametrize("kind", ["afternotok", "afterany"])
def test_job_after_a_failure_starts_when_it_is_asked_for(cluster, kind):
    first = cluster.submit("exit 1")
    second = cluster.submit("true", options={"dependency": f"{kind}:{first}"})
    assert cluster.wait_ended(second).state is JobState.COMPLETED


def test_singletons_run_one_after_the_other(cluster):
    body = "mkdir busy || exit 9; sleep 0.1; rmdir busy"
    for _ in range(3):
        cluster.submit(body, options={"dependency": "singleton", "output": "/dev/null"})
    cluster.wait(lambda: all(row.state.is_terminal for row in cluster.rows().values()))
    assert {row.state for row in cluster.rows().values()} == {JobState.COMPLETED}


def test_requeued_job_runs_again_with_a_new_log(cluster):
    job_id = cluster.submit(RERUN, options={"output": "log.txt"})
    cluster.wait_text("log.txt", "run first")
    cluster.client.requeue(job_id)
    assert cluster.wait_state(job_id, JobState.COMPLETED).restarts == 1
    assert (cluster.folder / "log.txt").read_text() == "run 1\n"


def test_requeued_job_keeps_its_log_where_it_appends(cluster):
    job_id = cluster.submit(RERUN, options={"output": "log.txt", "open-mode": "append"})
    cluster.wait_text("log.txt", "run first")
    cluster.client.requeue(job_id)
    cluster.wait_state(job_id, JobState.COMPLETED)
    first, line, second = (cluster.folder / "log.txt").read_text().splitlines()
    assert (first, second) == ("run first", "run 1")
    assert line.startswith("slurmstepd: error: *** JOB 1 ON node1 CANCELLED AT 2")
    assert line.endswith(" DUE TO JOB REQUEUE ***")


def test_job_that_has_ended_can_be_requeued(cluster):
    job_id = cluster.submit('[ -n "$SLURM_RESTART_COUNT" ]')
    cluster.wait_state(job_id, JobState.FAILED)
    cluster.client.requeue(job_id)
    assert cluster.wait_state(job_id, JobState.COMPLETED).restarts == 1


def test_requeue_is_refused_where_the_job_forbids_it(cluster):
    job_id = cluster.submit("sleep 300", options={"no-requeue": ""})
    with pytest.raises(SchedulerError, match="Requested operation is presently disabled"):
        cluster.client.requeue(job_id)
    with pytest.raises(SchedulerError, match="Invalid job id specified"):
        cluster.client.requeue(JobId(4711))


def test_signal_before_the_limit_reaches_the_batch_script(cluster):
    job_id = cluster.submit(
        "trap 'echo warned >warned; exit 0' USR1; echo up >up; while :; do sleep 0.05; done",
        options={"time": "0:03", "signal": "B:USR1@2"},
    )
    row = cluster.wait_ended(job_id)
    assert cluster.wait_text("warned") == "warned\n"
    assert row.state is JobState.COMPLETED
    assert row.ended_at - row.started_at < 3


def test_signal_without_b_reaches_only_what_the_script_started(cluster):
    body = "bash -c \"trap 'exit 3' USR1; echo up >up; while :; do sleep 0.05; done\"; exit $(($? + 40))"
    job_id = cluster.submit(body, options={"time": "0:03", "signal": "USR1@2"})
    assert cluster.wait_ended(job_id).exit_code == 43


@pytest.mark.parametrize(
    ("body", "options"),
    [("true", {"output": "no/such/folder/out.txt"}), ("true", {"chdir": "/no/such/folder"})],
    ids=["log", "directory"],
)
def test_job_that_cannot_be_launched_fails_as_in_slurm(cluster, body, options):
    row = cluster.wait_ended(cluster.submit(body, options=options))
    assert (row.state, row.exit_code, row.signal) == (JobState.FAILED, 0, 53)
    assert row.reason == "JobLaunchFailure"


def test_script_with_an_unknown_interpreter_says_so(cluster):
    script = cluster.folder / "job.sbatch"
    script.write_text("#!/no/such/shell\n")
    job_id = cluster.client.submit(SubmitRequest(name="job", script=script, options={"output": "out.txt"}))
    assert cluster.wait_ended(job_id).exit_code == 2
    assert "bad interpreter(/no/such/shell)" in cluster.wait_text("out.txt")


@pytest.mark.parametrize(
    "options",
    [{"nodes": "2"}, {"gpus": "1"}, {"cpus-per-task": "5"}, {"mem": "2G"}, {"gres": "gpu:a100:1"}],
    ids=lambda options: "=".join(*options.items()),
)
def test_request_that_can_never_fit_is_rejected(cluster, options):
    cluster.configure(memory_per_node_bytes=1024**3)
    with pytest.raises(SubmissionRejected, match="Requested node configuration is not available"):
        cluster.submit("true", options=options)


def test_submission_above_the_limit_may_be_tried_again_later(cluster):
    cluster.configure(max_submit=2)
    cluster.submit(HOLD_UNTIL_GO, tasks=(0, 1), options={"output": "/dev/null"})
    with pytest.raises(QueueFull, match="QOSMaxSubmitJobPerUserLimit"):
        cluster.submit("true")
    go(cluster)
    cluster.wait(lambda: all(row.state.is_terminal for row in cluster.rows().values()))
    assert cluster.submit("true")


def test_options_that_are_not_simulated_are_accepted(cluster):
    directives = (
        "#SBATCH --partition=booster --account proj --constraint='a100&nvlink'\n"
        "#SBATCH --mail-type=END,FAIL --mail-user=a@b.eu --qos=normal -x node7\n##SBATCH --nodes=99"
    )
    job_id = cluster.submit('test "$SLURM_JOB_PARTITION" = booster', directives=directives)
    assert cluster.wait_ended(job_id).state is JobState.COMPLETED


def test_memory_of_a_job_is_measured(cluster):
    job_id = cluster.submit("""exec python3 -c "block = bytearray(100 * 1024**2)" """)
    assert cluster.wait_ended(job_id).max_rss_bytes > 100 * 1024**2


def test_ended_job_leaves_the_queue_view_but_not_accounting(cluster):
    cluster.configure(min_job_age_s=0.3)
    job_id = cluster.submit("true")
    row = cluster.wait_ended(job_id)
    cluster.fault("accounting_down", seconds=1)
    cluster.wait(lambda: cluster.client.snapshot("", 0).jobs == ())
    assert time.time() >= row.ended_at + 0.3
    assert cluster.wait(lambda: cluster.rows().get(job_id)).state is JobState.COMPLETED


def test_snapshot_of_ten_thousand_jobs_is_quick(cluster):
    cluster.configure(max_array_size=10_001)
    cluster.submit("true", name="many", tasks=tuple(range(10_000)), options={"hold": ""})
    cluster.wait(lambda: not cluster.controllers())
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        jobs = cluster.client.snapshot("many", 0).jobs
        seconds.append(time.perf_counter() - begin)
    assert len(jobs) == 10_000
    assert min(seconds) < 0.3
