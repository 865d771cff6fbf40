"""What jobs of the embedded scheduler find as srun."""

from __future__ import annotations

import pytest

from oellm_bench.core.job import JobState
from oellm_bench.schedulers.embedded.srun import ASKED_NODES, ASKED_TASKS, BadCall, read_call

CALLS = {
    "a task on each node": (["hostname"], {ASKED_NODES: "3"}, (3, 3)),
    "what the job was asked for in tasks": (["hostname"], {ASKED_NODES: "2", ASKED_TASKS: "8"}, (8, 2)),
    "tasks on each node": (["--ntasks-per-node=4", "hostname"], {ASKED_NODES: "2"}, (8, 2)),
    "the job's tasks win over those on each node": (
        ["--ntasks-per-node=1", "hostname"],
        {ASKED_NODES: "2", ASKED_TASKS: "8"},
        (8, 2),
    ),
    "short options": (["-n", "3", "-N1", "-l", "hostname", "-n", "9"], {}, (3, 1)),
    "values as words of their own": (["--ntasks", "3", "--cpu-bind", "none", "--", "hostname"], {}, (3, 1)),
    "no more nodes than tasks": (["-n1", "hostname"], {ASKED_NODES: "4"}, (1, 1)),
}


@pytest.mark.parametrize(("words", "environment", "expected"), CALLS.values(), ids=CALLS.keys())
def test_how_many_tasks_on_how_many_nodes(words, environment, expected):
    step = read_call(words, environment)
    assert (step.tasks, step.nodes) == expected
    assert step.command[0] == "hostname"


@pytest.mark.parametrize("words", [[], ["-n", "2"], ["--ntasks"], ["--nosuch=1", "x"], ["-Z", "x"], ["-n", "two", "x"]])
def test_what_srun_refuses(words):
    with pytest.raises(BadCall):
        read_call(words, {})


def test_tasks_of_a_job_know_their_place(cluster):
    body = "srun sh -c 'echo $SLURM_PROCID $SLURM_NODEID $SLURM_LOCALID $SLURM_NTASKS >rank$SLURM_PROCID'"
    cluster.configure(shrink=True)
    job = cluster.submit(f"cd '{cluster.folder}'; {body}", directives="#SBATCH --nodes=2 --ntasks-per-node=2")
    cluster.wait_state(job, JobState.COMPLETED)
    ranks = [(cluster.folder / f"rank{rank}").read_text().split() for rank in range(4)]
    assert ranks == [["0", "0", "0", "4"], ["1", "0", "1", "4"], ["2", "1", "0", "4"], ["3", "1", "1", "4"]]


def test_the_highest_exit_code_is_that_of_the_step(cluster):
    line = "srun -n3 sh -c 'exit $((SLURM_PROCID * 3))'; test $? = 6"
    assert cluster.wait_state(cluster.submit(line), JobState.COMPLETED)


def test_a_task_that_fails_can_end_the_others(cluster):
    line = "srun --kill-on-bad-exit -n2 sh -c '[ $SLURM_PROCID = 1 ] && exit 3; exec sleep 600'; test $? = 137"
    assert cluster.wait_state(cluster.submit(line), JobState.COMPLETED)


def test_tasks_end_with_their_job(cluster):
    job = cluster.submit(f"srun -n2 sh -c 'touch \"{cluster.folder}/on$SLURM_PROCID\"; exec sleep 600'")
    cluster.wait(lambda: len([*cluster.folder.glob("on*")]) == 2)
    cluster.client.cancel([job])
    cluster.wait_state(job, JobState.CANCELLED)
