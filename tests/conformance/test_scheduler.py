"""What every scheduler does alike. Only what a real SLURM does as well is asserted here."""

import time
from dataclasses import replace

import pytest

from oellm_bench.core.job import JobId, JobState
from oellm_bench.errors import SubmissionRejected
from oellm_bench.schedulers.base import SubmitRequest


def test_script_that_ends_well_is_completed(bench):
    job_id = bench.submit("echo done", options={"output": "out.txt"})
    row = bench.wait_state(job_id, JobState.COMPLETED)
    assert row.exit_code == 0
    assert not row.signal
    assert bench.wait_text("out.txt", "done") == "done\n"


def test_times_of_an_ended_job_are_in_order(bench):
    before = time.time()
    job_id = bench.submit("true", options={"time": "10"})
    row = bench.wait_state(job_id, JobState.COMPLETED)
    # SLURM counts whole seconds.
    assert before - 1 <= row.submitted_at <= row.started_at <= row.ended_at <= time.time() + 1
    assert row.time_limit_s == 600


def test_exit_code_of_a_failed_script_is_reported(bench):
    row = bench.wait_ended(bench.submit("exit 7"))
    assert (row.state, row.exit_code) == (JobState.FAILED, 7)


def test_signal_that_killed_the_script_is_reported(bench):
    row = bench.wait_ended(bench.submit("kill -KILL $$"))
    assert (row.state, row.signal) == (JobState.FAILED, 9)


def test_arguments_reach_the_script_unchanged(bench):
    arguments = ("two words", "it's", '"$HOME"', "*", "")
    bench.wait_ended(bench.submit('printf "%s\\n" "$@"', arguments=arguments, options={"output": "arguments.txt"}))
    assert (bench.folder / "arguments.txt").read_text() == "".join(f"{word}\n" for word in arguments)


def test_environment_of_the_request_reaches_the_script(bench):
    bench.wait_ended(bench.submit('echo "$FLAVOUR"', environment={"FLAVOUR": "it's x"}, options={"output": "env.txt"}))
    assert (bench.folder / "env.txt").read_text() == "it's x\n"


def test_directives_of_the_script_are_followed(bench):
    directives = '#SBATCH --output="out of %x.txt"\n#SBATCH -e err-%j.txt --time 3'
    job_id = bench.submit("echo out; echo err >&2", directives=directives)
    row = bench.wait_ended(job_id)
    assert row.time_limit_s == 180
    assert (bench.folder / f"out of {row.name}.txt").read_text() == "out\n"
    assert (bench.folder / f"err-{job_id}.txt").read_text() == "err\n"


def test_options_of_the_request_win_over_directives(bench):
    bench.wait_ended(
        bench.submit("echo here", directives="#SBATCH --output=directive.txt", options={"output": "option.txt"})
    )
    assert (bench.folder / "option.txt").read_text() == "here\n"
    assert not (bench.folder / "directive.txt").exists()


def test_job_runs_in_the_directory_it_was_submitted_from(bench):
    bench.wait_ended(bench.submit("pwd", options={"output": "pwd.txt"}))
    assert (bench.folder / "pwd.txt").read_text() == f"{bench.folder}\n"


def test_script_is_taken_as_it_was_at_submission(bench):
    job_id = bench.submit("echo before", options={"begin": "now+1", "output": "script.txt"})
    (bench.folder / "job.sbatch").write_text("#!/bin/bash\necho after\n")
    bench.wait_ended(job_id)
    assert (bench.folder / "script.txt").read_text() == "before\n"


def test_job_knows_who_it_is(bench):
    job_id = bench.submit(
        'echo "$SLURM_JOB_ID $SLURM_JOB_NAME $SLURM_NNODES ${SLURM_RESTART_COUNT-unset}"',
        options={"nodes": "2", "output": "who.txt"},
    )
    row = bench.wait_ended(job_id)
    assert (bench.folder / "who.txt").read_text() == f"{job_id} {row.name} 2 unset\n"


def test_array_has_a_row_for_each_task(bench):
    job_id = bench.submit("exit $SLURM_ARRAY_TASK_ID", name="array", tasks=(0, 1, 5), options={"output": "/dev/null"})
    rows = bench.wait(lambda: len(rows := bench.rows()) == 3 and all_ended(rows) and rows)
    assert {str(task): row.exit_code for task, row in rows.items()} == {
        f"{job_id}_0": 0,
        f"{job_id}_1": 1,
        f"{job_id}_5": 5,
    }


def test_array_task_knows_its_array(bench):
    body = 'echo "$SLURM_ARRAY_JOB_ID $SLURM_ARRAY_TASK_ID $SLURM_ARRAY_TASK_COUNT $SLURM_ARRAY_TASK_MAX"'
    job_id = bench.submit(body, tasks=(3, 4), options={"output": "%A-%a.txt"})
    bench.wait(lambda: len(rows := bench.rows()) == 2 and all_ended(rows))
    assert (bench.folder / f"{job_id}-4.txt").read_text() == f"{job_id} 4 2 4\n"


def test_throttled_array_runs_one_task_at_a_time(bench):
    # mkdir fails where another task holds the folder.
    body = "mkdir busy || exit 9; sleep 0.1; rmdir busy"
    bench.submit(body, tasks=(0, 1, 2), max_parallel=1, options={"output": "/dev/null"})
    rows = bench.wait(lambda: len(rows := bench.rows()) == 3 and all_ended(rows) and rows)
    assert {row.state for row in rows.values()} == {JobState.COMPLETED}


def test_job_waits_for_the_one_it_depends_on(bench):
    first = bench.submit("sleep 0.3; touch first", name="first", options={"output": "/dev/null"})
    second = bench.submit("test -e first", name="second", options={"dependency": f"afterok:{first}"})
    assert bench.wait_ended(second).state is JobState.COMPLETED


def test_waiting_job_is_cancelled_without_a_start(bench):
    job_id = bench.submit("touch started", options={"begin": "now+1hour"})
    bench.wait_state(job_id, JobState.PENDING)
    bench.scheduler.cancel([job_id])
    assert bench.wait_ended(job_id).state is JobState.CANCELLED
    assert not (bench.folder / "started").exists()


def test_running_job_is_cancelled_with_everything_it_started(bench):
    job_id = bench.submit("sleep 300 & echo up; wait", options={"output": "up.txt"})
    bench.wait_text("up.txt", "up")
    bench.scheduler.cancel([job_id])
    assert bench.wait_ended(job_id).state is JobState.CANCELLED
    bench.wait(lambda: bench.rows()[job_id].cancelled_by)  # accounting may know it seconds later
    bench.wait(lambda: not bench.processes())


def test_one_task_is_cancelled_and_the_others_go_on(bench):
    job_id = bench.submit(
        'touch "up$SLURM_ARRAY_TASK_ID"; while [ ! -e go ]; do sleep 0.05; done',
        tasks=(0, 1),
        options={"output": "/dev/null"},
    )
    bench.wait(lambda: (bench.folder / "up0").exists() and (bench.folder / "up1").exists())
    bench.scheduler.cancel([JobId(job_id.job, 0)])
    bench.wait_state(JobId(job_id.job, 0), JobState.CANCELLED)
    (bench.folder / "go").touch()
    bench.wait_state(JobId(job_id.job, 1), JobState.COMPLETED)


def test_cancelling_an_ended_job_changes_nothing(bench):
    job_id = bench.submit("true")
    bench.wait_state(job_id, JobState.COMPLETED)
    bench.scheduler.cancel([job_id])
    assert bench.rows()[job_id].state is JobState.COMPLETED


def test_job_over_its_limit_is_ended_as_timeout(bench):
    job_id = bench.submit("echo up; sleep 600", options={"time": bench.short_limit, "output": "limit.txt"})
    bench.wait_text("limit.txt", "up")
    bench.hurry(job_id)
    assert bench.wait_ended(job_id).state is JobState.TIMEOUT
    assert "DUE TO TIME LIMIT" in bench.wait_text("limit.txt", "DUE TO")


@pytest.mark.parametrize(
    "options",
    [
        {"no-such-option": "1"},
        {"time": "soon"},
        {"nodes": "none"},
        {"nodes": "100000"},
    ],
    ids=lambda options: "=".join(*options.items()),
)
def test_submission_that_cannot_work_is_rejected_and_leaves_no_job(bench, options):
    with pytest.raises(SubmissionRejected):
        bench.submit("true", options=options)
    assert bench.rows() == {}


def test_array_index_above_the_limit_is_rejected(bench):
    too_high = bench.scheduler.limits().max_array_size
    with pytest.raises(SubmissionRejected):
        bench.submit("true", tasks=(0, too_high))


def test_a_rehearsal_tells_what_would_become_of_a_submission(bench):
    script = bench.folder / "rehearsed.sbatch"
    script.write_text("#!/bin/bash\ntrue\n")
    request = SubmitRequest(name=bench.prefix + "rehearsed", script=script)
    assert bench.scheduler.rehearse(request).accepted
    refused = bench.scheduler.rehearse(replace(request, options={"nodes": "1000"}))
    assert not refused.accepted and refused.message
    assert bench.rows() == {}


def test_one_partition_is_that_of_jobs_that_name_none(bench):
    partitions = bench.scheduler.partitions()
    assert [partition.is_default for partition in partitions].count(True) == 1
    assert all(partition.total_nodes > 0 and partition.is_up for partition in partitions)


def test_file_that_is_no_script_is_rejected(bench):
    script = bench.folder / "notes.txt"
    script.write_text("echo no interpreter named\n")
    with pytest.raises(SubmissionRejected):
        bench.scheduler.submit(SubmitRequest(name=f"{bench.prefix}notes", script=script))


def test_snapshot_has_only_jobs_of_the_prefix(bench):
    bench.submit("true", name="wanted")
    bench.submit("true", name="other")
    names = {row.name for row in bench.scheduler.snapshot(f"{bench.prefix}wanted", 0).jobs}
    assert names == {f"{bench.prefix}wanted"}


def test_snapshot_has_only_jobs_submitted_since(bench):
    bench.submit("true")
    assert bench.scheduler.snapshot(bench.prefix, time.time() + 3600).jobs == ()


def test_snapshot_says_that_both_sources_answered(bench):
    snapshot = bench.scheduler.snapshot(bench.prefix, 0)
    assert (snapshot.queue_answered, snapshot.accounting_answered) == (True, True)
    assert snapshot.calls <= 2


def test_later_submission_has_a_greater_id(bench):
    assert bench.submit("true", tasks=(0, 1)) < bench.submit("true")


def test_another_client_sees_and_cancels_the_job(bench):
    job_id = bench.submit("sleep 300")
    other = bench.make()
    bench.wait(lambda: bench.rows(other).get(job_id))
    other.cancel([job_id])
    assert bench.wait_ended(job_id).state is JobState.CANCELLED


def all_ended(rows):
    return all(row.state.is_terminal for row in rows.values())
