"""The environment of a batch script: what the submitter had, and what Slurm says of the job.

Source: sbatch(1), INPUT and OUTPUT ENVIRONMENT VARIABLES.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from oellm_bench.schedulers.embedded.identity import MARK
from oellm_bench.schedulers.embedded.placement import Allocation, Shape
from oellm_bench.schedulers.embedded.spec import JobSpec
from oellm_bench.schedulers.embedded.srun import ASKED_NODES, ASKED_TASKS
from oellm_bench.schedulers.embedded.store import Job
from oellm_bench.shell import OF_SINKS, is_secret_name

CLUSTER_NAME = "embedded"
DEFAULT_PARTITION = "embedded"
_UNLIMITED_S = 365 * 86400  # what Slurm puts in SLURM_JOB_END_TIME of a job without a limit
_OF_A_JOB = re.compile(r"SLURM(?:D)?_(?!CONF$).*")  # a job that submits must not hand down its own identity


@dataclass(frozen=True, kw_only=True)
class ArrayShape:
    """The indices of an array."""

    count: int
    least: int
    greatest: int


def keepable(environment: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Return what of a submitter's environment may be written down, and the names of its secrets."""
    inherited = {
        name: value
        for name, value in environment.items()
        if name != MARK and not name.startswith(OF_SINKS) and not _OF_A_JOB.fullmatch(name)
    }
    secret_names = sorted(name for name in inherited if is_secret_name(name))
    return {name: value for name, value in inherited.items() if name not in secret_names}, secret_names


def with_secrets(kept: Mapping[str, str], secret_names: Sequence[str], source: Mapping[str, str]) -> dict[str, str]:
    """Return a kept environment with its secrets, as far as `source` has them."""
    return {**kept, **{name: source[name] for name in secret_names if name in source}}


def slurm_variables(
    job: Job, spec: JobSpec, allocation: Allocation, shape: Shape, array: ArrayShape | None
) -> dict[str, str]:
    """Return the SLURM_* variables (and CUDA_VISIBLE_DEVICES) of a job that is about to start."""
    nodes = list(allocation)
    host = nodes[0]
    cpus = shape.cpus if spec.demand.exclusive else spec.demand.cpus
    start = int(job.started_at or 0)
    asked = spec.options.get("nodes", str(len(nodes))).partition("-")[0]
    values: dict[str, object] = {
        ASKED_NODES: asked,
        "SLURM_CLUSTER_NAME": CLUSTER_NAME,
        "SLURM_CPUS_ON_NODE": cpus,
        "SLURM_GTIDS": 0,
        "SLURM_JOBID": job.raw_id,
        "SLURM_JOB_CPUS_PER_NODE": _repeated(cpus, len(nodes)),
        "SLURM_JOB_END_TIME": start + (job.time_limit_s or _UNLIMITED_S),
        "SLURM_JOB_ID": job.raw_id,
        "SLURM_JOB_NAME": job.name,
        "SLURM_JOB_NODELIST": job.nodes,
        "SLURM_JOB_NUM_NODES": len(nodes),
        "SLURM_JOB_PARTITION": spec.options.get("partition", DEFAULT_PARTITION),
        "SLURM_JOB_START_TIME": start,
        "SLURM_LOCALID": 0,
        "SLURM_NNODES": len(nodes),
        "SLURM_NODEID": 0,
        "SLURM_NODELIST": job.nodes,
        "SLURM_NPROCS": spec.ntasks,
        "SLURM_NTASKS": spec.ntasks,
        "SLURM_PROCID": 0,
        "SLURM_SUBMIT_DIR": spec.submit_dir,
        "SLURM_SUBMIT_HOST": spec.submit_host,
        "SLURM_TASKS_PER_NODE": _repeated(-(-spec.ntasks // len(nodes)), len(nodes)),
        "SLURMD_NODENAME": host,
        **_asked_for(job, spec, allocation[host]),
        **_array(job, array),
    }
    return {name: str(value) for name, value in values.items()}


def _asked_for(job: Job, spec: JobSpec, gpus: Sequence[int]) -> dict[str, object]:
    """Return the variables that exist only when the job asked for the thing, or was started before."""
    values: dict[str, object] = {}
    if "ntasks" in spec.options or "ntasks-per-node" in spec.options:
        values[ASKED_TASKS] = spec.ntasks
    if spec.options.get("nodes", "1") != "1":
        values["MASTER_ADDR"] = "127.0.0.1"  # all nodes are this machine, whatever their names are
    if spec.cpus_per_task is not None:
        values["SLURM_CPUS_PER_TASK"] = spec.cpus_per_task
    if spec.demand.memory_bytes:
        values["SLURM_MEM_PER_NODE"] = spec.demand.memory_bytes // 1024**2
    for option in ("account", "qos"):
        if option in spec.options:
            values[f"SLURM_JOB_{option.upper()}"] = spec.options[option]
    if gpus:
        devices = ",".join(str(gpu) for gpu in gpus)
        values |= {
            "SLURM_GPUS_ON_NODE": len(gpus),
            "SLURM_JOB_GPUS": devices,
            "CUDA_VISIBLE_DEVICES": devices,
            "GPU_DEVICE_ORDINAL": devices,
        }
    if job.restarts:
        values["SLURM_RESTART_COUNT"] = job.restarts
    return values


def _array(job: Job, array: ArrayShape | None) -> dict[str, object]:
    if array is None:
        return {}
    return {
        "SLURM_ARRAY_JOB_ID": job.id,
        "SLURM_ARRAY_TASK_ID": job.task,
        "SLURM_ARRAY_TASK_COUNT": array.count,
        "SLURM_ARRAY_TASK_MIN": array.least,
        "SLURM_ARRAY_TASK_MAX": array.greatest,
    }


def _repeated(value: int, times: int) -> str:
    return str(value) if times == 1 else f"{value}(x{times})"
