"""Take a job into the queue: what sbatch and slurmctld do between them."""

from __future__ import annotations

import json
import os
import secrets
import socket
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NoReturn

from oellm_bench.core.job import JobId, JobState
from oellm_bench.errors import QueueFull, SubmissionRejected
from oellm_bench.schedulers.embedded import store
from oellm_bench.schedulers.embedded.cluster import Cluster
from oellm_bench.schedulers.embedded.dependencies import parse_dependency
from oellm_bench.schedulers.embedded.environment import keepable
from oellm_bench.schedulers.embedded.layout import Layout
from oellm_bench.schedulers.embedded.options import BadOption, checked, merge, script_options
from oellm_bench.schedulers.embedded.spec import JobSpec, Site, parse_array, read_spec

_NOT_A_SCRIPT = (
    "This does not look like a batch script.  The first line must start with #! followed by the path to an "
    "interpreter. For instance: #!/bin/sh"
)
_TOO_MANY = (
    "QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job violates accounting/QOS "
    "policy (job submit limit, user's size and/or time limits)"
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One call of sbatch; `environment` is the whole environment it runs in."""

    name: str
    script: Path
    arguments: tuple[str, ...] = ()
    array: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


def accept(connection: sqlite3.Connection, layout: Layout, cluster: Cluster, asked: Asked, now: float) -> JobId:
    """Put a submission into the queue; call in a transaction.

    Raises SubmissionRejected with sbatch's words, QueueFull when the user has too many jobs.
    """
    script = _read_script(asked.script)
    spec = _read_spec(script, cluster, asked, now)
    tasks: tuple[int | None, ...] = (None,)
    if "array" in spec.options:
        tasks = parse_array(spec.options["array"])[0]
        if max(index or 0 for index in tasks) >= cluster.max_array_size:
            _reject("Batch job submission failed: Invalid job array specification")
    _check_dependency(connection, spec)
    if cluster.max_submit is not None and store.unfinished(connection) + len(tasks) > cluster.max_submit:
        raise QueueFull(f"sbatch: error: {_TOO_MANY}")
    _keep_cluster(connection, cluster)
    job = int(store.read_meta(connection, "next_id", 1))
    store.write_meta(connection, "next_id", job + len(tasks))
    _keep_script(layout.script(job), script)
    kept, secret_names = keepable(asked.environment)
    connection.execute(
        "INSERT INTO submission VALUES (?, ?, ?, ?)",
        (job, spec.to_json(), json.dumps(kept), json.dumps(secret_names)),
    )
    for raw_id, task in zip(_raw_ids(job, len(tasks)), tasks, strict=True):
        _insert(connection, spec, job, raw_id, task, now)
    return JobId(job)


def _read_script(path: Path) -> bytes:
    try:
        script = path.read_bytes()
    except OSError:
        _reject(f"Unable to open file {path}")
    if not script.startswith(b"#!"):
        _reject(_NOT_A_SCRIPT)
    if b"\r\n" in script:
        _reject("Batch script contains DOS line breaks (\\r\\n) instead of expected UNIX line breaks (\\n).")
    return script


def _read_spec(script: bytes, cluster: Cluster, asked: Asked, now: float) -> JobSpec:
    site = Site(
        shape=cluster.shape,
        requeue=cluster.requeue,
        default_time_s=cluster.default_time_s,
        shrink=cluster.shrink,
    )
    try:
        options = script_options(os.fsdecode(script))
        merge(options, checked(asked.options))
        options["job-name"] = asked.name
        if asked.array:
            options["array"] = asked.array
        return read_spec(
            options,
            site,
            now=now,
            name=asked.name,
            arguments=asked.arguments,
            submit_dir=str(Path.cwd()),
            submit_host=socket.gethostname(),
        )
    except BadOption as err:
        _reject(str(err))


def _check_dependency(connection: sqlite3.Connection, spec: JobSpec) -> None:
    for term in parse_dependency(spec.dependency).terms:
        if term.job_id is not None and not store.jobs_called(connection, term.job_id):
            _reject("Batch job submission failed: Job dependency problem")


def _keep_cluster(connection: sqlite3.Connection, cluster: Cluster) -> None:
    if store.read_meta(connection, "cluster") != asdict(cluster):
        store.write_meta(connection, "cluster", asdict(cluster))
    if store.read_meta(connection, "cluster_id") is None:
        store.write_meta(connection, "cluster_id", secrets.token_hex(8))


def _keep_script(path: Path, script: bytes) -> None:
    """Write the copy; the job is visible only later, and a rolled back id writes it anew."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(script)
    path.chmod(0o700)


def _raw_ids(job: int, count: int) -> list[int]:
    """Return each task's own id; the last one takes the array's, as in Slurm."""
    return [*range(job + 1, job + count), job]


def _insert(connection: sqlite3.Connection, spec: JobSpec, job: int, raw_id: int, task: int | None, now: float) -> None:
    store.insert_job(
        connection,
        raw_id=raw_id,
        id=job,
        task=task,
        name=spec.name,
        state=JobState.PENDING.value,
        reason="JobHeldUser" if spec.held else "None",
        held=spec.held,
        dependency=spec.dependency,
        eligible_at=spec.eligible_at,
        submitted_at=now,
        time_limit_s=spec.time_limit_s,
    )


def _reject(text: str) -> NoReturn:
    raise SubmissionRejected(f"sbatch: error: {text}")
