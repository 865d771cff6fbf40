"""The embedded slurmctld: starts waiting jobs, ends running ones, writes down what became of them.

A detached process that clients start on demand and that ends by itself. It keeps nothing in memory that
the database and the step folders do not say as well: it may be killed at any moment, and the next one
goes on. Two never work at once (controller.lock).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import sqlite3
import time
from collections.abc import Mapping
from pathlib import Path

from oellm_bench.schedulers.embedded import faults
from oellm_bench.schedulers.embedded.cluster import Cluster
from oellm_bench.schedulers.embedded.layout import Layout
from oellm_bench.schedulers.embedded.starting import write_srun
from oellm_bench.schedulers.embedded.steps import Steps
from oellm_bench.schedulers.embedded.stops import LAUNCH_FAILURE, Stop, ending
from oellm_bench.schedulers.embedded.store import (
    Job,
    connect,
    has_work,
    read_meta,
    select_jobs,
    transaction,
    update_job,
)
from oellm_bench.schedulers.embedded.waiting_line import WaitingLine, finish, put_back

_LOCK_WAIT_S = 2.0
_LINGER_S = 0.1  # so that a script which submits job after job does not start a controller for each
_LOOK_S = 5.0  # at the latest: everything that matters wakes it, but a lost wake-up must not lose a job
_ADOPTED_LOOK_S = 0.3  # supervisors that are no children of this controller cannot wake it when killed


def main(folder: str) -> int:
    """Detach, and control until nothing is left to do; at once when another controller does."""
    if os.fork():
        os._exit(0)  # ends the wait of `ensure_running`; no Popen of a long-lived client keeps a zombie
    os.setsid()
    layout = Layout(Path(folder))
    write_srun(layout)
    with layout.lock.open("a") as lock:
        if not _lock(lock.fileno()):
            return 0
        with contextlib.closing(connect(layout.database)) as connection:
            _Controller(layout, connection, lock.fileno()).run()
    return 0


class _Controller:
    """One controller, from its lock to its end."""

    def __init__(self, layout: Layout, connection: sqlite3.Connection, lock: int) -> None:
        self._layout = layout
        self._connection = connection
        self._lock = lock
        self._cluster = Cluster(**read_meta(connection, "cluster"))
        self._steps = Steps(layout, connection, self._cluster.shape, self._cluster.kill_wait_s)
        self._line = WaitingLine(connection, self._cluster.shape)
        self._wake = _open_wake(layout.wake)
        self._child_ended = _child_descriptor()
        self._idle_since: float | None = None

    def run(self) -> None:
        """Work until nothing is left to do or the folder is deleted."""
        self._steps.sweep(self._running())
        while self._layout.database.exists():
            if self._work(time.time()):
                continue  # what has just started may be what a fault waits for
            if self._may_leave(time.monotonic()):
                return
            self._sleep(time.time())

    def _work(self, now: float) -> bool:
        """Do all that is due; tells whether jobs were started."""
        self._steps.reap()
        self._reload()
        with transaction(self._connection):
            faults.strike(self._connection, now)
        for job in self._running():
            if job.stop:
                self._steps.stop(job)
            self._collect(job, now)
        with transaction(self._connection):
            down = faults.down_nodes(self._connection, now)
            started = self._line.start_what_fits(down, now)
        for raw_id in started:
            self._steps.start(select_jobs(self._connection, "raw_id = ?", raw_id)[0])
        return bool(started)

    def _reload(self) -> None:
        """Take over a configuration that a client changed."""
        cluster = Cluster(**read_meta(self._connection, "cluster"))
        if cluster != self._cluster:
            self._cluster = cluster
            self._line = WaitingLine(self._connection, cluster.shape)
            self._steps.use(cluster.shape, cluster.kill_wait_s)

    def _collect(self, job: Job, now: float) -> None:
        """Write down the end of a running job, if it has ended."""
        record = self._steps.outcome(job)
        if record is None:
            return
        with transaction(self._connection):
            current = select_jobs(self._connection, "raw_id = ?", job.raw_id)[0]
            self._settle(current, record, now)
        self._steps.forget(job)

    def _settle(self, job: Job, record: Mapping[str, object], now: float) -> None:
        update_job(self._connection, job.raw_id, max_rss_bytes=record["max_rss_bytes"])
        ended_at = float(str(record.get("ended_at", now)))
        if record["launch_error"]:
            finish(self._connection, job, LAUNCH_FAILURE, ended_at)
            return
        stop = Stop(record["stop"]) if record["stop"] else None
        if stop is None and job.stop == Stop.REQUEUE.value:  # it ended while it was being told: asked is asked
            stop = Stop.REQUEUE
        end = ending(
            int(str(record["returncode"])),
            stop,
            may_requeue=self._line.spec(job.id).requeue,
            cancelled=bool(job.cancelled_by),
        )
        if end is None:
            put_back(self._connection, job, now + self._cluster.requeue_delay_s)
        else:
            finish(self._connection, job, end, ended_at)

    def _running(self) -> list[Job]:
        return select_jobs(self._connection, "ended_at IS NULL AND state = 'RUNNING'")

    def _may_leave(self, now: float) -> bool:
        """Let go of the lock and the fifo if nothing has come for a while.

        Under the database's write lock: a client that submits afterwards finds no reader of the fifo and
        starts the next controller; one that submitted before is seen here.
        """
        if has_work(self._connection):
            self._idle_since = None
            return False
        self._idle_since = self._idle_since or now
        if now - self._idle_since < _LINGER_S:
            return False
        with transaction(self._connection):
            if has_work(self._connection):
                return False
            os.close(self._wake)
            fcntl.flock(self._lock, fcntl.LOCK_UN)
        return True

    def _sleep(self, now: float) -> None:
        """Wait for a poke, the end of a supervisor, or the next thing that time brings."""
        until = min(
            now + (_LOOK_S if self._idle_since is None else _LINGER_S),
            self._line.next_event(now),
            faults.next_event(self._connection, now),
        )
        if any(not self._steps.is_own(job) for job in self._running()):
            until = min(until, now + _ADOPTED_LOOK_S)
        ready = select.select([self._wake, self._child_ended], [], [], max(0.0, until - now))[0]
        for descriptor in ready:
            os.read(descriptor, 65536)


def _lock(descriptor: int) -> bool:
    """Take the lock, giving a controller that is just leaving the time to do so."""
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        else:
            return True


def _open_wake(path: Path) -> int:
    """Open the fifo for both directions: it then has a writer for ever, and never reads as ended."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def _child_descriptor() -> int:
    """Return a descriptor that becomes readable when a supervisor ends."""
    readable, writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return readable
