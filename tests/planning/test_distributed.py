"""One command as many processes: what is run, and what is refused because it would not run everywhere."""

from __future__ import annotations

import subprocess
import sys

import pytest

from oellm_bench.backends.base import BackendJobSpec
from oellm_bench.backends.distributed import (
    DistributedConfig,
    distributed_argv,
    distributed_problems,
    processes_per_node,
    world_size,
)
from oellm_bench.core.resources import Resources
from oellm_bench.job.attempt import meeting_point
from oellm_bench.placeholders import expand

PROGRAM = ("train.py", "--lr", "1")


def job(nodes=1, gpus=0, **more):
    return BackendJobSpec(resources=Resources(nodes=nodes, gpus=gpus * nodes), **more)


def refusals(spec, **config):
    return [str(problem) for problem in distributed_problems(DistributedConfig(**config), spec)]


@pytest.mark.parametrize(
    ("given", "spec", "count"),
    [
        (0, job(nodes=2, gpus=4), 4),
        (0, job(nodes=2, tasks_per_node=8), 8),
        (0, job(), 1),
        (2, job(nodes=2, gpus=4, tasks_per_node=8), 2),
    ],
)
def test_as_many_processes_as_there_are_gpus_unless_it_is_said(given, spec, count):
    config = DistributedConfig(processes_per_node=given)
    assert processes_per_node(config, spec) == count
    assert world_size(config, spec) == count * spec.resources.nodes


def test_on_one_node_torchrun_finds_a_port_by_itself():
    argv = distributed_argv(DistributedConfig(args={"max_restarts": 0, "tee": 3}), job(gpus=4), PROGRAM)
    options = ("--standalone", "--nproc_per_node=4", "--max_restarts", "0", "--tee", "3")
    assert argv == ("torchrun", *options, *PROGRAM)


@pytest.mark.parametrize(("contained", "python"), [(False, sys.executable), (True, "python3")])
def test_without_torchrun_an_interpreter_stands_in_front(contained, python):
    argv = distributed_argv(DistributedConfig(launch="none"), job(contained=contained), PROGRAM)
    assert argv == (python, *PROGRAM)


def started(config, spec, **environment):
    """Run the command with a program that prints what it is called with, as the planner would fill it in."""
    printing = (sys.executable, "-c", "import os, sys; print(sys.argv[1:]); print(dict(os.environ))", "{{literal}}")
    argv = distributed_argv(config, spec, printing, python="env")
    if config.launch == "torchrun":
        argv = tuple(word for word in argv if word != "torchrun" and not word.startswith("--n"))
    filled = [expand(word, lambda name: None) for word in argv]
    inherited = {"PATH": "/usr/bin:/bin", **environment}
    done = subprocess.run(filled, env=inherited, capture_output=True, text=True, timeout=30, check=True)
    words, found = done.stdout.splitlines()
    assert words == "['{literal}']"
    return eval(found)


STEP = {"SLURM_JOB_ID": "77", "MASTER_ADDR": "n0", "MASTER_PORT": "20077"}


@pytest.mark.parametrize(("node", "is_host"), [("0", "1"), ("1", "0")])
def test_on_several_nodes_torchrun_is_told_where_to_meet(node, is_host):
    found = started(DistributedConfig(), job(nodes=2, gpus=4), SLURM_NODEID=node, **STEP)
    assert {name: value for name, value in found.items() if name.startswith("PET_")} == {
        "PET_RDZV_BACKEND": "c10d",
        "PET_RDZV_ID": "77",
        "PET_RDZV_ENDPOINT": "n0:20077",
        "PET_RDZV_CONF": f"is_host={is_host}",
    }


def test_a_port_that_is_given_is_used():
    found = started(DistributedConfig(port=29999), job(nodes=2), **STEP)
    assert found["PET_RDZV_ENDPOINT"] == "n0:29999"


def test_tasks_of_srun_are_told_their_ranks():
    ranks = {"SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_NTASKS": "8", "SLURM_STEP_NUM_TASKS": "8"}
    found = started(DistributedConfig(launch="srun"), job(nodes=2, gpus=4), **STEP, **ranks)
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    assert [found[name] for name in names] == ["5", "1", "8", "4", "n0", "20077"]


@pytest.mark.parametrize(
    ("spec", "config", "what"),
    [
        (job(nodes=2), {}, "on the first one only; set slurm.srun: {ntasks-per-node: 1}"),
        (job(nodes=2, srun={"ntasks-per-node": 4}), {}, "srun starts 4 tasks on a node, and launch: torchrun needs 1"),
        (job(nodes=2, srun={"ntasks": 1}), {}, "srun starts 0.5 tasks on a node"),
        (job(nodes=2, tasks=8, srun={"label": True}), {}, "srun starts 4 tasks on a node"),
        (job(nodes=2, tasks=8, srun={"ntasks-per-node": 1}), {}, "set slurm.srun: {ntasks: 2, ntasks-per-node: 1}"),
        (job(gpus=4), {"launch": "srun"}, "none in front of the command; set slurm.srun: {ntasks-per-node: 4}"),
        (job(nodes=2, gpus=4, srun={"label": True}), {"launch": "srun"}, "srun starts 1 tasks on a node"),
        (job(nodes=2, heterogeneous=True), {}, "components of a heterogeneous job"),
        (job(nodes=2, srun={"ntasks-per-node": 1}, with_ray=True), {}, "beside a Ray head the command runs once"),
        (job(nodes=4, srun={"ntasks-per-node": 1}, varying=True), {}, "give slurm.sbatch.nodes one number"),
        (job(), {"processes_per_node": -1}, "-1 processes cannot be started"),
        (job(), {"port": 70000}, "70000 is no port"),
        (job(), {"torchrun": []}, "there is no program"),
        (job(), {"args": {"nnodes": 2}}, "distributed.args: '--nnodes' follows from the job; take it out"),
        (job(), {"args": "--nproc-per-node=2"}, "'--nproc-per-node' follows from the job"),
        (job(), {"args": {"a": {}}}, "{} is not a single value"),
    ],
)
def test_what_would_not_run_everywhere_is_refused(spec, config, what):
    (problem,) = refusals(spec, **config)
    assert what in problem


@pytest.mark.parametrize(
    ("spec", "launch"),
    [
        (job(gpus=4), "torchrun"),
        (job(nodes=2, srun={"ntasks_per_node": 1}), "torchrun"),
        (job(nodes=2, srun={"ntasks": 2}), "torchrun"),
        (job(nodes=2, own_srun=True), "torchrun"),
        (job(nodes=2, gpus=4, srun={"ntasks": 8}), "srun"),
        (job(nodes=2, tasks_per_node=4, tasks=8, srun={"label": True}), "srun"),
        (job(nodes=2, tasks=8, srun={"ntasks": 2, "ntasks-per-node": 1}), "torchrun"),
        (job(nodes=2), "none"),
    ],
)
def test_what_starts_everywhere_is_taken(spec, launch):
    assert refusals(spec, launch=launch) == []


def test_jobs_on_a_node_meet_at_ports_of_their_own_below_those_that_are_given_out():
    points = [meeting_point({"SLURM_JOB_ID": str(job), "SLURM_JOB_NODELIST": "b[07,09],a1"}) for job in (7, 8, 10**8)]
    assert {point["MASTER_ADDR"] for point in points} == {"b07"}
    ports = {int(point["MASTER_PORT"]) for point in points}
    assert len(ports) == 3 and all(20_000 <= port < 32_000 for port in ports)


def test_where_processes_meet_may_be_said_in_the_environment():
    said = {"MASTER_ADDR": "n0-ib", "MASTER_PORT": "1234"}
    assert meeting_point({**said, "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n0"}) == said
    assert meeting_point({}) == {"MASTER_ADDR": "localhost", "MASTER_PORT": "20000"}
