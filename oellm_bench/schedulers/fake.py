"""The embedded scheduler: SLURM's behaviour on this machine, for `--fake` and for tests.

It runs the rendered scripts for real, as processes. The parts are in `embedded/`; this is what the rest of
the program sees of them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compoconf import register

from oellm_bench.clock import Clock, SystemClock
from oellm_bench.core.job import JobId, JobStatus, Snapshot
from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.errors import (
    ConfigError,
    Problem,
    QueueFull,
    SchedulerUnavailable,
    SubmissionRejected,
    SubmissionUnclear,
)
from oellm_bench.schedulers.base import Limits, Partition, Scheduler, SubmitRequest, Trial, index_ranges
from oellm_bench.schedulers.embedded import control, faults, store, views
from oellm_bench.schedulers.embedded.cluster import Cluster
from oellm_bench.schedulers.embedded.layout import Layout
from oellm_bench.schedulers.embedded.records import poke
from oellm_bench.schedulers.embedded.starting import ensure_running
from oellm_bench.schedulers.embedded.submission import Asked, accept

_LOOK_S = 0.02  # between two looks at whether anything has changed
_NO_CONTACT = "Unable to contact slurm controller (connect failure)"


@dataclass(frozen=True, kw_only=True)
class FakeSlurmConfig(PluginConfig):
    """A virtual cluster of equal nodes on this machine, and how it misbehaves."""

    nodes: int = option("virtual nodes", 1)
    cpus_per_node: int = option("CPUs that jobs may ask of a node; 0: as many as this machine has", 0)
    gpus_per_node: int = option("GPUs that jobs may ask of a node; only their numbers are handed out", 0)
    memory_per_node_bytes: int = option("memory that jobs may ask of a node; 0: not counted", 0, unit="bytes")
    shrink: bool = option("give a job that asks for more than there is all there is, instead of refusing it", False)
    kill_wait_s: float = option("time between TERM and KILL when a job is ended; 30 as in SLURM", 30.0, unit="s")
    min_job_age_s: float = option("how long the queue view shows a job that has ended", 300.0, unit="s")
    requeue: bool = option("whether jobs that do not say may be requeued", True)
    requeue_delay_s: float = option("time before a requeued job may start again", 0.5, unit="s")
    default_time_s: int | None = option("time limit of jobs that name none; null: none", None, unit="s")
    max_array_size: int = option("array indices are below this", 1001)
    max_submit: int | None = option("jobs and tasks that may be unfinished at once; null: any number", None)
    faults: tuple[dict[str, Any], ...] = option(
        "misbehaviour, counted from the first submission: {kind: node_fail, node: node1, after_s: 3}", ()
    )


@register
class FakeSlurmClient(Scheduler):
    """The client side. Job states are kept in `folder`, which has to be on a local disk.

    Every process that uses the folder sees the same jobs. Where a job's supervisor is killed, the job's
    processes are killed too and it ends as NODE_FAIL, or is requeued, as after the loss of a slurmstepd.
    """

    config: FakeSlurmConfig
    lookup_grace_s = 0.5  # a submission is in the queue before anyone can be unsure of it
    longest_pause_s = 1.0  # a look costs nothing here

    def __init__(self, config: FakeSlurmConfig, folder: Path) -> None:
        self.config = config
        self._faults = _read_faults(config)
        self._layout = Layout(folder.absolute())
        self._clock = SystemClock()
        self._watched: sqlite3.Connection | None = None
        self._seen = 0

    def submit(self, request: SubmitRequest) -> JobId:
        """Put the job into the queue and see to it that a controller runs."""
        environment = {**os.environ, **request.environment}
        with self._open() as connection:
            now = self._clock.now()
            self._require_queue(connection, now)
            with store.transaction(connection):
                job_id = accept(connection, self._layout, self._cluster(), _asked(request, environment), now)
                for number, fault in enumerate(self._faults):
                    faults.install(connection, fault, origin=f"config {number} {fault}", now=now)
                unclear = faults.take_one(connection, "sbatch_timeout", now)
        ensure_running(self._layout, environment)
        if unclear:
            raise SubmissionUnclear(
                "sbatch: error: Batch job submission failed: Socket timed out on send/recv operation"
            )
        return job_id

    def snapshot(self, prefix: str, since: float, *, insist: bool = False) -> Snapshot:
        """Read both views of the queue; starts a controller when there is work and none is alive."""
        now = self._clock.now()
        self._seen = self._version()
        queue: dict[JobId, JobStatus] = {}
        accounting: dict[JobId, JobStatus] = {}
        with self._open() as connection:
            if store.has_work(connection):
                ensure_running(self._layout, os.environ)
            queue_answers = not faults.is_active(connection, "outage", now)
            accounting_answers = not faults.is_active(connection, "accounting_down", now)
            rows = views.statuses(connection, prefix, since)
            if queue_answers:
                queue = views.queue_view(rows, now, self.config.min_job_age_s)
            if accounting_answers:
                accounting = views.accounting_view(rows, now, faults.accounting_lag_s(connection, now))
        return Snapshot(
            taken_at=now,
            jobs=tuple((accounting | queue).values()),
            queue_answered=queue_answers,
            accounting_answered=accounting_answers,
            calls=2,
        )

    def wait(self, pause_s: float, clock: Clock) -> None:
        """Wait until something has changed since the last snapshot, `pause_s` at the most."""
        if self._watched is None:  # what changed before this cannot be told: look again soon
            self._watched = store.connect(self._layout.database)
            self._seen = self._version()
            clock.sleep(min(pause_s, _LOOK_S))
            return
        left_s, look_s = pause_s, _LOOK_S
        while left_s > 0 and self._version() == self._seen:
            clock.sleep(min(look_s, left_s))
            left_s, look_s = left_s - look_s, 1.1 * look_s  # who waits long can wait a little longer

    def close(self) -> None:
        """Close the connection that waits."""
        if self._watched is not None:
            self._watched.close()
            self._watched = None

    def _version(self) -> int:
        """Return a number that changes with every change that others make to the queue."""
        if self._watched is None:
            return 0
        return int(self._watched.execute("PRAGMA data_version").fetchone()[0])

    def cancel(self, job_ids: Collection[JobId]) -> None:
        """Cancel at once what waits, and have the controller end what runs."""
        with self._changing() as connection:
            control.cancel(connection, job_ids, self._clock.now())

    def requeue(self, job_id: JobId) -> None:
        """Run a job again under its id, as `scontrol requeue` does; also one that has just ended.

        Raises SchedulerUnavailable; SchedulerError for an unknown job and one with --no-requeue.
        """
        now = self._clock.now()
        with self._changing() as connection:
            control.requeue(
                connection,
                job_id,
                eligible_at=now + self.config.requeue_delay_s,
                forgotten_at=now - self.config.min_job_age_s,
            )

    def release(self, job_id: JobId) -> None:
        """Let a job start that was submitted with --hold. Raises SchedulerUnavailable."""
        with self._changing() as connection:
            control.release(connection, job_id)

    def limits(self) -> Limits:
        """Return the configured limits."""
        with self._open() as connection:
            self._require_queue(connection, self._clock.now())
        return Limits(max_array_size=self.config.max_array_size, max_submit=self.config.max_submit)

    def partitions(self) -> tuple[Partition, ...]:
        """Return the one partition that all nodes are in; it sets no limits."""
        return (Partition(name="fake", is_default=True, total_nodes=self.config.nodes),)

    def rehearse(self, request: SubmitRequest) -> Trial:
        """Judge a submission by the queue's own rules, in a transaction that is taken back."""
        now = self._clock.now()
        with self._open() as connection:
            self._require_queue(connection, now)
            try:
                with store.transaction(connection):
                    accept(connection, self._layout, self._cluster(), _asked(request, dict(os.environ)), now)
                    raise _TakenBack
            except _TakenBack:
                return Trial(accepted=True, message="accepted; nothing was submitted")
            except QueueFull as err:
                return Trial(accepted=True, message=f"{err}; submit waits until there is room")
            except SubmissionRejected as err:
                return Trial(accepted=False, message=str(err))

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        self._layout.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with contextlib.closing(store.connect(self._layout.database)) as connection:
            yield connection

    @contextlib.contextmanager
    def _changing(self) -> Iterator[sqlite3.Connection]:
        """Yield a connection in a transaction; afterwards the controller looks at the change."""
        with self._open() as connection:
            self._require_queue(connection, self._clock.now())
            with store.transaction(connection):
                yield connection
            if store.has_work(connection):
                ensure_running(self._layout, os.environ)
            else:
                poke(self._layout.wake)  # so that a controller that waited for this need not wait any more

    def _require_queue(self, connection: sqlite3.Connection, now: float) -> None:
        if faults.is_active(connection, "outage", now):
            raise SchedulerUnavailable(_NO_CONTACT)

    def _cluster(self) -> Cluster:
        names = [field.name for field in dataclasses.fields(Cluster)]
        return Cluster(**{name: getattr(self.config, name) for name in names})


class _TakenBack(Exception):
    """Ends a transaction that was only a rehearsal."""


def _asked(request: SubmitRequest, environment: dict[str, str]) -> Asked:
    throttle = f"%{request.max_parallel}" if request.max_parallel else ""
    return Asked(
        name=request.name,
        script=request.script,
        arguments=request.arguments,
        array=f"{index_ranges(request.tasks)}{throttle}" if request.tasks else "",
        options=request.options,
        environment=environment,
    )


def _read_faults(config: FakeSlurmConfig) -> tuple[faults.Fault, ...]:
    read, problems = [], []
    for number, given in enumerate(config.faults):
        try:
            read.append(faults.read_fault(given))
        except ValueError as err:
            problems.append(Problem(what=str(err), where=f"slurm.client.faults[{number}]"))
    if problems:
        raise ConfigError(problems)
    return tuple(read)
