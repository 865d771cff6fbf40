"""The database of submissions and jobs: its tables, and rows in and out of them.

WAL mode without a sync per commit: what is committed survives the death of any process; after a power
failure the last moments may be missing, never half there. The folder must be on a local disk.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from oellm_bench.core.job import JobId, JobState
from oellm_bench.errors import StateError
from oellm_bench.schedulers.embedded.spec import JobSpec

_VERSION = 1
_BUSY_S = 30.0
_TABLES = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE submission (
    id INTEGER PRIMARY KEY, spec TEXT NOT NULL, environment TEXT NOT NULL, secret_names TEXT NOT NULL
);
CREATE TABLE job (
    raw_id INTEGER PRIMARY KEY, id INTEGER NOT NULL, task INTEGER, name TEXT NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', stop TEXT NOT NULL DEFAULT '',
    dependency TEXT NOT NULL DEFAULT '', eligible_at REAL NOT NULL, held INTEGER NOT NULL DEFAULT 0,
    restarts INTEGER NOT NULL DEFAULT 0, nodes TEXT NOT NULL DEFAULT '',
    allocation TEXT NOT NULL DEFAULT '{}',
    submitted_at REAL NOT NULL, started_at REAL, ended_at REAL, time_limit_s INTEGER,
    exit_code INTEGER, signal INTEGER, cancelled_by TEXT NOT NULL DEFAULT '', max_rss_bytes INTEGER
);
CREATE INDEX job_unfinished ON job (state) WHERE ended_at IS NULL;
CREATE INDEX job_id ON job (id, task);
CREATE INDEX job_submitted ON job (submitted_at);
CREATE TABLE fault (
    id INTEGER PRIMARY KEY, origin TEXT UNIQUE, kind TEXT NOT NULL, target TEXT NOT NULL,
    due_at REAL NOT NULL, seconds REAL NOT NULL, remaining INTEGER NOT NULL
);
"""


class Job(NamedTuple):
    """A row of the job table; `raw_id` is SLURM_JOB_ID, `id` the array's (or the same), times epoch seconds.

    `stop` is why a running job is to be ended, empty otherwise; `allocation` is JSON of an Allocation.
    `ended_at` is None for every job that is not in a final state.
    """

    raw_id: int
    id: int
    task: int | None
    name: str
    state: str
    reason: str
    stop: str
    dependency: str
    eligible_at: float
    held: int
    restarts: int
    nodes: str
    allocation: str
    submitted_at: float
    started_at: float | None
    ended_at: float | None
    time_limit_s: int | None
    exit_code: int | None
    signal: int | None
    cancelled_by: str
    max_rss_bytes: int | None

    @property
    def job_id(self) -> JobId:
        """Return the id that people use."""
        return JobId(self.id, self.task)

    @property
    def job_state(self) -> JobState:
        """Return the state."""
        return JobState(self.state)


_SELECT = f"SELECT {', '.join(Job._fields)} FROM job "  # noqa: S608 - our own column names


def connect(database: Path) -> sqlite3.Connection:
    """Open the database, made when absent. Raises StateError for one of another version."""
    connection = sqlite3.connect(database, timeout=_BUSY_S, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous = NORMAL")
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            _create(connection, database)
        elif version != _VERSION:
            raise StateError(f"{database} has version {version}, this program reads {_VERSION}; use an empty folder")
    except sqlite3.DatabaseError as err:
        connection.close()
        raise StateError(f"{database} cannot be used as the embedded scheduler's queue ({err})") from err
    except BaseException:
        connection.close()
        raise
    return connection


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[None]:
    """Hold the database's write lock; commit at the end, roll back on an error."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def select_jobs(connection: sqlite3.Connection, where: str, *values: Any) -> list[Job]:
    """Return the jobs for an SQL condition (which may end in ORDER BY)."""
    return [Job._make(row) for row in connection.execute(f"{_SELECT} WHERE {where}", values)]


def jobs_called(connection: sqlite3.Connection, job_id: JobId) -> list[Job]:
    """Return the job, the task, or all tasks of the array that this id means."""
    if job_id.task is not None:
        return select_jobs(connection, "id = ? AND task = ?", job_id.job, job_id.task)
    return select_jobs(connection, "id = ?1 OR raw_id = ?1 ORDER BY id, task", job_id.job)


def update_job(connection: sqlite3.Connection, raw_id: int, **columns: Any) -> None:
    """Set columns of one job."""
    assignments = ", ".join(f"{name} = ?" for name in columns)
    connection.execute(
        f"UPDATE job SET {assignments} WHERE raw_id = ?",  # noqa: S608 - names are keywords of ours
        (*columns.values(), raw_id),
    )


def insert_job(connection: sqlite3.Connection, **columns: Any) -> None:
    """Add one job."""
    names, marks = ", ".join(columns), ", ".join("?" * len(columns))
    connection.execute(
        f"INSERT INTO job ({names}) VALUES ({marks})",  # noqa: S608 - names are keywords of ours
        tuple(columns.values()),
    )


def unfinished(connection: sqlite3.Connection) -> int:
    """Return how many jobs have not ended."""
    row = connection.execute("SELECT count(*) FROM job WHERE ended_at IS NULL").fetchone()
    return int(row[0])


def has_work(connection: sqlite3.Connection) -> bool:
    """Tell whether a controller has anything to do: jobs that wait for a person's word need none."""
    row = connection.execute(
        "SELECT 1 FROM job WHERE ended_at IS NULL AND held = 0 AND reason != ? LIMIT 1",
        ("DependencyNeverSatisfied",),
    ).fetchone()
    return row is not None


def read_submission(connection: sqlite3.Connection, job: int) -> tuple[JobSpec, dict[str, str], list[str]]:
    """Return what was submitted: the request, the environment, and the names of secrets left out of it."""
    spec, environment, secret_names = connection.execute(
        "SELECT spec, environment, secret_names FROM submission WHERE id = ?", (job,)
    ).fetchone()
    return JobSpec.from_json(spec), json.loads(environment), json.loads(secret_names)


def read_meta(connection: sqlite3.Connection, key: str, default: Any = None) -> Any:
    """Return a value of the meta table."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    return default if row is None else json.loads(row[0])


def write_meta(connection: sqlite3.Connection, key: str, value: Any) -> None:
    """Keep a value in the meta table."""
    connection.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, json.dumps(value)))


def _create(connection: sqlite3.Connection, database: Path) -> None:
    with database.with_suffix(".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the change to WAL does not wait for others, it fails
        connection.execute("PRAGMA journal_mode = WAL")
        with transaction(connection):
            if connection.execute("PRAGMA user_version").fetchone()[0] == 0:  # another may have been faster
                for statement in _TABLES.split(";"):
                    connection.execute(statement)
                connection.execute(f"PRAGMA user_version = {_VERSION}")
