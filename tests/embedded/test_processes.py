"""Nothing of a job outlives it, and no job is lost or doubled by the death of a process of ours."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from oellm_bench.core.job import JobState

# Leaves its parent, its session and, in the last case, its environment behind, and says its process id.
DAEMONS = {
    "background": 'bash -c "echo \\$\\$ >daemon; exec sleep 300" &',
    "setsid": 'setsid bash -c "echo \\$\\$ >daemon; exec sleep 300" &',
    "double fork": '(setsid bash -c "echo \\$\\$ >daemon; exec sleep 300" &) &',
    "no environment": '(setsid env -i bash -c "echo \\$\\$ >daemon; exec sleep 300" &) &',
    "ignores TERM": "(trap '' TERM; setsid bash -c \"echo \\$\\$ >daemon; exec sleep 300\" &) &",
}
WAIT_FOR_DAEMON = "while [ ! -s daemon ]; do sleep 0.01; done"


@pytest.mark.parametrize("daemon", DAEMONS.values(), ids=DAEMONS)
def test_daemon_of_a_script_that_ends_is_killed(cluster, daemon):
    job_id = cluster.submit(f"{daemon}\n{WAIT_FOR_DAEMON}")
    cluster.wait_state(job_id, JobState.COMPLETED)
    assert not cluster.is_alive(int(cluster.wait_text("daemon")))


@pytest.mark.parametrize("daemon", DAEMONS.values(), ids=DAEMONS)
def test_daemon_of_a_cancelled_job_is_killed(cluster, daemon):
    job_id = cluster.submit(f"{daemon}\nsleep 300")
    pid = int(cluster.wait_text("daemon"))
    cluster.client.cancel([job_id])
    cluster.wait_state(job_id, JobState.CANCELLED)
    assert not cluster.is_alive(pid)


def test_daemon_of_a_job_over_its_limit_is_killed(cluster):
    job_id = cluster.submit(f"{DAEMONS['ignores TERM']}\nsleep 300", options={"time": "0:01"})
    pid = int(cluster.wait_text("daemon"))
    cluster.wait_state(job_id, JobState.TIMEOUT)
    assert not cluster.is_alive(pid)


def test_terminated_job_has_time_to_clean_up(cluster):
    job_id = cluster.submit("trap 'echo clean >clean; exit 0' TERM; echo up >up; sleep 300 & wait")
    cluster.wait_text("up")
    cluster.client.cancel([job_id])
    assert cluster.wait_ended(job_id).state is JobState.CANCELLED
    assert cluster.wait_text("clean") == "clean\n"


def test_job_that_ignores_term_is_killed_after_the_grace(cluster):
    job_id = cluster.submit("trap '' TERM; echo up >up; while :; do sleep 0.1; done")
    cluster.wait_text("up")
    cluster.client.cancel([job_id])
    assert cluster.wait_ended(job_id).state is JobState.CANCELLED


def test_running_job_survives_its_controller_and_keeps_its_exit_code(cluster):
    job_id = cluster.submit("echo up >up; while [ ! -e go ]; do sleep 0.02; done; exit 5")
    cluster.wait_text("up")
    cluster.kill(*cluster.controllers())
    (cluster.folder / "go").touch()
    row = cluster.wait_ended(job_id)
    assert (row.state, row.exit_code, row.restarts) == (JobState.FAILED, 5, 0)


def test_job_that_ended_while_no_controller_lived_is_reported(cluster):
    job_id = cluster.submit("echo up >up; while [ ! -e go ]; do sleep 0.02; done; exit 6")
    cluster.wait_text("up")
    supervisor = cluster.supervisor(job_id)
    cluster.kill(*cluster.controllers())
    (cluster.folder / "go").touch()
    cluster.wait_gone(supervisor)
    assert cluster.wait_ended(job_id).exit_code == 6


def test_time_limit_holds_without_a_controller(cluster):
    job_id = cluster.submit("echo up >up; sleep 300", options={"time": "0:01"})
    cluster.wait_text("up")
    supervisor = cluster.supervisor(job_id)
    cluster.kill(*cluster.controllers())
    cluster.wait_gone(supervisor)
    assert cluster.wait_ended(job_id).state is JobState.TIMEOUT


def test_killing_controllers_over_and_over_runs_every_task_once(cluster):
    job_id = cluster.submit('echo run >>"runs-$SLURM_ARRAY_TASK_ID"; sleep 0.1', tasks=tuple(range(12)))

    def all_ended_despite_a_kill():
        for pid in cluster.controllers():
            os.kill(pid, signal.SIGKILL)
        return all(row.state.is_terminal for row in cluster.rows().values())

    cluster.wait(all_ended_despite_a_kill)
    assert {row.state for row in cluster.rows().values()} == {JobState.COMPLETED}
    runs = [(cluster.folder / f"runs-{task}").read_text() for task in range(12)]
    assert runs == ["run\n"] * 12
    assert job_id.job == 1


def test_job_whose_supervisor_is_killed_fails_with_its_node_and_leaves_nothing(cluster):
    job_id = cluster.submit("echo $$ >script; setsid sleep 300 & sleep 300", options={"no-requeue": ""})
    script = int(cluster.wait_text("script"))
    cluster.kill(cluster.supervisor(job_id))
    assert cluster.wait_ended(job_id).state is JobState.NODE_FAIL
    cluster.wait_gone(script)
    cluster.wait(lambda: not cluster.processes())


def test_job_whose_supervisor_is_killed_runs_again_where_it_may(cluster):
    job_id = cluster.submit('[ -n "$SLURM_RESTART_COUNT" ] && exit 0; echo up >up; sleep 300')
    cluster.wait_text("up")
    cluster.kill(cluster.supervisor(job_id))
    assert cluster.wait_state(job_id, JobState.COMPLETED).restarts == 1


def test_job_is_settled_after_everything_of_ours_was_killed(cluster):
    job_id = cluster.submit("echo $$ >script; sleep 300", options={"no-requeue": ""})
    script = int(cluster.wait_text("script"))
    cluster.kill(*cluster.controllers(), cluster.supervisor(job_id))
    assert cluster.wait_ended(job_id).state is JobState.NODE_FAIL
    cluster.wait_gone(script)


def test_running_job_of_an_earlier_boot_is_settled(cluster):
    job_id = cluster.submit("echo $$ >script; sleep 300", options={"no-requeue": ""})
    script = int(cluster.wait_text("script"))
    cluster.kill(*cluster.controllers(), cluster.supervisor(job_id), script)
    # After a reboot the supervisor's process id belongs to someone else, here to this test.
    claim = cluster.queue / "steps" / f"{job_id}.0" / "claim.json"
    claim.write_text(json.dumps({**json.loads(claim.read_text()), "pid": os.getpid(), "boot_id": "earlier"}))
    assert cluster.wait_ended(job_id).state is JobState.NODE_FAIL


def test_controller_leaves_when_nothing_is_left_to_do(cluster):
    cluster.wait_ended(cluster.submit("true"))
    cluster.wait(lambda: not cluster.controllers())


def test_controller_comes_back_for_the_next_job(cluster):
    cluster.wait_ended(cluster.submit("true"))
    cluster.wait(lambda: not cluster.controllers())
    assert cluster.wait_ended(cluster.submit("true")).state is JobState.COMPLETED


def test_submitter_may_exit_at_once(cluster):
    program = (
        "import sys; from pathlib import Path;"
        "from oellm_bench.schedulers.fake import FakeSlurmClient, FakeSlurmConfig;"
        "from oellm_bench.schedulers.base import SubmitRequest;"
        "FakeSlurmClient(FakeSlurmConfig(), Path(sys.argv[1])).submit("
        "SubmitRequest(name='job', script=Path(sys.argv[2])))"
    )
    script = cluster.folder / "job.sbatch"
    script.write_text("#!/bin/sh\nexit 4\n")
    subprocess.run([sys.executable, "-c", program, cluster.queue, script], check=True, timeout=60)
    row = cluster.wait(lambda: next((row for row in cluster.rows().values() if row.state.is_terminal), None))
    assert row.exit_code == 4


def test_many_submitters_at_once_get_an_id_each(cluster):
    script = cluster.folder / "job.sbatch"
    script.write_text("#!/bin/sh\ntrue\n")
    program = (
        "import sys; from pathlib import Path;"
        "from oellm_bench.schedulers.fake import FakeSlurmClient, FakeSlurmConfig;"
        "from oellm_bench.schedulers.base import SubmitRequest;"
        "client = FakeSlurmClient(FakeSlurmConfig(cpus_per_node=4), Path(sys.argv[1]));"
        "print([client.submit(SubmitRequest(name='job', script=Path(sys.argv[2]))).job for _ in range(5)])"
    )
    argv = [sys.executable, "-c", program, str(cluster.queue), str(script)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as one, subprocess.Popen(argv, stdout=subprocess.PIPE) as two:
        printed = one.communicate(timeout=60)[0] + two.communicate(timeout=20)[0]
    assert sorted(int(word.strip(b"[],")) for word in printed.split()) == list(range(1, 11))
    cluster.wait(lambda: all(row.state is JobState.COMPLETED for row in cluster.rows().values()))


def test_deleting_the_folder_ends_what_runs_in_it(cluster):
    cluster.submit("echo $$ >script; sleep 300")
    script = int(cluster.wait_text("script"))
    shutil.rmtree(cluster.queue)
    cluster.wait_gone(script)
    cluster.wait(lambda: not cluster.processes())


def test_secrets_reach_the_job_but_not_the_disk(cluster):
    secret = "hush-hush-5f2a"
    job_id = cluster.submit(
        'test "$MY_API_TOKEN" = hush-hush-5f2a && while [ ! -e go ]; do sleep 0.02; done',
        environment={"MY_API_TOKEN": secret},
        options={"output": "/dev/null"},
    )
    cluster.wait_state(job_id, JobState.RUNNING)
    cluster.supervisor(job_id)
    (cluster.folder / "job.sbatch").unlink()
    scripts = {path for path in cluster.queue.rglob("slurm_script")}
    files = [path for path in cluster.queue.rglob("*") if path.is_file() and path not in scripts]
    leaks = [path for path in files if secret.encode() in path.read_bytes()]
    (cluster.folder / "go").touch()
    assert cluster.wait_ended(job_id).state is JobState.COMPLETED
    assert leaks == []
