"""How one command becomes many processes: torchrun on each node, or a task of srun for each process."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from oellm_bench.backends.arguments import Arguments, to_argv
from oellm_bench.backends.base import BackendJobSpec
from oellm_bench.core.option import option
from oellm_bench.errors import Problem

# Both are constant: what a configuration says is an argument behind them. MASTER_ADDR and MASTER_PORT are the runner's.
# torchrun reads PET_X where its option --x is not given; which node holds the meeting point is told, as a name of the
# first node need not be what that node calls itself.
# Source: torch/distributed/run.py, argparse_util.py and elastic/rendezvous/c10d_rendezvous_backend.py (PyTorch 2.9).
_MEET = (
    "export PET_RDZV_BACKEND=c10d PET_RDZV_ID=${SLURM_JOB_ID:-0}"
    " PET_RDZV_ENDPOINT=${MASTER_ADDR:-localhost}:${MASTER_PORT:-29500}"
    ' PET_RDZV_CONF=is_host=$((${SLURM_NODEID:-0} == 0)); exec "$@"'
)
# Source: OUTPUT ENVIRONMENT VARIABLES in srun(1); torch.distributed's env:// initialisation.
_RANKS = (
    "export RANK=${SLURM_PROCID:-0} LOCAL_RANK=${SLURM_LOCALID:-0}"
    " WORLD_SIZE=${SLURM_STEP_NUM_TASKS:-${SLURM_NTASKS:-1}}"
    ' MASTER_ADDR=${MASTER_ADDR:-localhost} MASTER_PORT=${MASTER_PORT:-29500}; exec "$@"'
)
_COUNTED = ("nnodes", "nproc_per_node", "nproc-per-node")
_LAST_PORT = 65535


@dataclass(frozen=True, kw_only=True)
class DistributedConfig:
    """How many processes a command is, and who starts them."""

    launch: Literal["torchrun", "srun", "none"] = option(
        "torchrun: one on each node, which starts that node's processes; srun: a task for each process; none: as it is",
        "torchrun",
    )
    processes_per_node: int = option("processes on each node; 0: one for each GPU, else sbatch's ntasks-per-node", 0)
    torchrun: list[str] | str = option("the program: torchrun, or [python, -m, torch.distributed.run]", "torchrun")
    args: Arguments = option("further options of torchrun: {max_restarts: 0, tee: 3}", factory=dict)
    port: int = option("port on the first node where the processes meet; 0: made from the job's id", 0)


def processes_per_node(config: DistributedConfig, spec: BackendJobSpec) -> int:
    """Return how many processes each node runs."""
    return config.processes_per_node or spec.gpus_per_node or spec.tasks_per_node


def world_size(config: DistributedConfig, spec: BackendJobSpec) -> int:
    """Return how many processes there are on all nodes."""
    return processes_per_node(config, spec) * spec.resources.nodes


def distributed_argv(
    config: DistributedConfig, spec: BackendJobSpec, program: Sequence[str], python: str = ""
) -> tuple[str, ...]:
    """Return the command that runs `program`, a Python script or `-m MODULE` with its arguments, in each process.

    `python`: the interpreter where torchrun brings none; empty: the one that runs this, or the container's python3.
    Options behind `args` of the configuration are the program's own.
    """
    python = python or ("python3" if spec.contained else sys.executable)
    if config.launch == "none":
        return (python, *program)
    count = processes_per_node(config, spec)
    if config.launch == "srun":
        return (*_variables(config, f"LOCAL_WORLD_SIZE={count}"), *_behind(_RANKS), python, *program)
    words = (config.torchrun,) if isinstance(config.torchrun, str) else tuple(config.torchrun)
    options = (f"--nproc_per_node={count}", *to_argv(config.args))  # PyTorch 1 knows this spelling alone
    if spec.resources.nodes == 1:
        return (*words, "--standalone", *options, *program)
    command = (*words, f"--nnodes={spec.resources.nodes}", *options, *program)
    return (*_variables(config), *_behind(_MEET), *command)


def distributed_problems(
    config: DistributedConfig, spec: BackendJobSpec, where: str = "distributed"
) -> Iterator[Problem]:
    """Yield what is wrong with it for such a job; `where` is the field's name in the backend."""
    if config.processes_per_node < 0:
        what, fix = (
            f"{config.processes_per_node} processes cannot be started",
            "give a number, or 0 for one on each GPU",
        )
        yield Problem(what=what, where=f"{where}.processes_per_node", fix=fix)
    if not 0 <= config.port <= _LAST_PORT:
        yield Problem(what=f"{config.port} is no port", where=f"{where}.port", fix=f"give one up to {_LAST_PORT}, or 0")
    if not config.torchrun:
        yield Problem(what="there is no program", where=f"{where}.torchrun", fix="give torchrun")
    yield from _argument_problems(config, where)
    if config.processes_per_node >= 0 and config.launch != "none":
        yield from _step_problems(config, spec, where)


def _argument_problems(config: DistributedConfig, where: str) -> Iterator[Problem]:
    try:
        words = to_argv(config.args)
    except ValueError as err:
        yield Problem(what=str(err), where=f"{where}.args", fix="give words, numbers or booleans")
        return
    for word in words:
        name = word.partition("=")[0].removeprefix("--")
        if word.startswith("--") and name in _COUNTED:
            fix = f"take it out, and set slurm.sbatch.nodes or {where}.processes_per_node"
            yield Problem(what=f"'--{name}' follows from the job", where=f"{where}.args", fix=fix)


def _step_problems(config: DistributedConfig, spec: BackendJobSpec, where: str) -> Iterator[Problem]:
    """Yield why the step that the command is started as does not start as many as are wanted."""
    if spec.heterogeneous:
        what = "the components of a heterogeneous job are not one set of nodes to start processes on"
        yield Problem(what=what, where=f"{where}.launch", fix="take slurm.hetjob out, or set launch: none")
        return
    if spec.with_ray and (spec.resources.nodes > 1 or config.launch == "srun"):
        what = "beside a Ray head the command runs once, on the first node"
        yield Problem(what=what, where=f"{where}.launch", fix="leave ray out, or set launch: none")
        return
    if spec.varying:
        what = "how many nodes the job gets is not known, and its processes wait for all of them"
        fix = "give slurm.sbatch.nodes one number"
        yield Problem(what=what, where=f"{where}.launch", fix=fix)
        return
    if spec.own_srun:
        return  # its options are the user's
    nodes, count = spec.resources.nodes, processes_per_node(config, spec)
    wanted = count if config.launch == "srun" else 1
    tasks = _tasks_per_node(spec)
    total = f"ntasks: {wanted * nodes}, " if spec.tasks not in (0, wanted * nodes) else ""
    fix = f"set slurm.srun: {{{total}ntasks-per-node: {wanted}}}"
    if tasks is None and (config.launch == "srun" or nodes > 1):
        what = f"{config.launch} has to be started on {nodes} nodes, and without srun it runs on the first one only"
        if nodes == 1:
            what = f"srun is to start {count} processes, and there is none in front of the command"
        yield Problem(what=what, where=f"{where}.launch", fix=fix)
    elif tasks is not None and tasks != wanted:
        what = f"srun starts {tasks:g} tasks on a node, and launch: {config.launch} needs {wanted}"
        yield Problem(what=what, where=f"{where}.launch", fix=fix)


def _tasks_per_node(spec: BackendJobSpec) -> float | None:
    """Return how many tasks srun starts on a node, None where the command is not started by srun.

    What sbatch was asked for comes to srun by SLURM_NTASKS and wins over --ntasks-per-node (seen with Slurm 22.05).
    """
    given = {name.strip("-").replace("_", "-"): str(value) for name, value in spec.srun.items()}
    if not given:
        return None
    total = given.get("ntasks", "")
    if total.isdecimal() or spec.tasks:
        return (int(total) if total.isdecimal() else spec.tasks) / spec.resources.nodes
    on_a_node = given.get("ntasks-per-node", "")
    return int(on_a_node) if on_a_node.isdecimal() else 1


def _variables(config: DistributedConfig, *variables: str) -> tuple[str, ...]:
    given = (*variables, *((f"MASTER_PORT={config.port}",) if config.port else ()))
    return ("env", *given) if given else ()


def _behind(script: str) -> tuple[str, ...]:
    """Return the prefix that runs a constant script, its braces doubled for the planner; it ends with `exec "$@"`."""
    return ("bash", "-c", script.replace("{", "{{").replace("}", "}}"), "bash")
