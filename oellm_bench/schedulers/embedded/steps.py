"""The controller's side of the supervisors: start them, hand them stops, see how they ended."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oellm_bench.proctree import send
from oellm_bench.schedulers.embedded import program
from oellm_bench.schedulers.embedded.environment import ArrayShape, slurm_variables, with_secrets
from oellm_bench.schedulers.embedded.filenames import expand, pattern_values
from oellm_bench.schedulers.embedded.identity import is_alive, kill_marked
from oellm_bench.schedulers.embedded.layout import Layout
from oellm_bench.schedulers.embedded.placement import Shape
from oellm_bench.schedulers.embedded.records import read_record, write_record
from oellm_bench.schedulers.embedded.spec import JobSpec
from oellm_bench.schedulers.embedded.stops import Stop
from oellm_bench.schedulers.embedded.store import Job, read_meta, read_submission

_ATTEMPTS = 3


class Steps:
    """The running jobs of one controller.

    `own` supervisors are its children, and their end wakes it; those it found at its start have to be
    looked at from time to time.
    """

    def __init__(self, layout: Layout, connection: sqlite3.Connection, shape: Shape, kill_wait_s: float) -> None:
        self._layout = layout
        self._connection = connection
        self.use(shape, kill_wait_s)
        self._cluster_id = str(read_meta(connection, "cluster_id"))
        self._own: dict[tuple[int, int], subprocess.Popen[bytes]] = {}
        self._attempts: dict[tuple[int, int], int] = {}
        self._told: set[tuple[int, int]] = set()

    def use(self, shape: Shape, kill_wait_s: float) -> None:
        """Start the next jobs with these."""
        self._shape = shape
        self._kill_wait_s = kill_wait_s

    def is_own(self, job: Job) -> bool:
        """Tell whether the job's supervisor is a child of this process."""
        return (job.raw_id, job.restarts) in self._own

    def start(self, job: Job) -> None:
        """Start a supervisor for a job that the database calls running; harmless when there is one."""
        step = self._layout.step(job.raw_id, job.restarts)
        step.folder.mkdir(parents=True, exist_ok=True)
        spec, kept, secret_names = read_submission(self._connection, job.id)
        variables = slurm_variables(job, spec, json.loads(job.allocation), self._shape, self._array(job))
        write_record(step.order, self._order(job, spec))
        key = (job.raw_id, job.restarts)
        self._attempts[key] = self._attempts.get(key, 0) + 1
        try:
            self._own[key] = subprocess.Popen(
                program.argv("supervisor", str(step.folder)),
                env=self._environment(with_secrets(kept, secret_names, os.environ), variables),
                cwd="/",
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as err:  # no process to be had, or an environment too large for execve
            print(f"job {job.raw_id}: no supervisor: {err}", file=sys.stderr)  # noqa: T201 - the log

    def _environment(self, submitted: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
        """Return what a job sees; the cluster's own srun, where there is one, knows nothing of it."""
        found = os.pathsep.join([str(self._layout.programs), submitted.get("PATH", os.defpath)])
        return {**variables, **submitted, **{n: v for n, v in variables.items() if n != "MASTER_ADDR"}, "PATH": found}

    def outcome(self, job: Job) -> dict[str, Any] | None:
        """Return the supervisor's record of a job's end, None while it goes on.

        A supervisor that was killed leaves no record: what is left of the job is killed, and the record
        says that the node failed, which is what Slurm makes of a lost slurmstepd. One that never claimed
        its step is started again, three times in all.
        """
        step = self._layout.step(job.raw_id, job.restarts)
        claim = read_record(step.claim)
        alive = self._is_starting(job) if claim is None else is_alive(claim)
        record = read_record(step.exit)  # after the look at the claim: a supervisor that is gone has written it
        if record is not None or alive:
            return record
        if claim is None and self._attempts.get((job.raw_id, job.restarts), 0) < _ATTEMPTS:
            self.start(job)
            return None
        kill_marked(self._mark(job))
        lost = {"stop": Stop.NODE_FAIL.value, "returncode": 0, "max_rss_bytes": None, "launch_error": ""}
        return lost if claim is not None else {**lost, "stop": None, "launch_error": "no supervisor"}

    def stop(self, job: Job) -> None:
        """Hand the job's stop to its supervisor, once for each controller."""
        key = (job.raw_id, job.restarts)
        if key in self._told:
            return
        step = self._layout.step(*key)
        write_record(step.stop, self._stop_note(job, Stop(job.stop)))
        self._told.add(key)
        # Without a claim yet the supervisor will look for the note itself, after claiming.
        claim = read_record(step.claim)
        if claim is not None and is_alive(claim):
            send(claim["pid"], signal.SIGTERM)

    def forget(self, job: Job) -> None:
        """Remove what was kept for a run whose end is in the database."""
        key = (job.raw_id, job.restarts)
        shutil.rmtree(self._layout.step(*key).folder, ignore_errors=True)
        self._told.discard(key)
        self._attempts.pop(key, None)

    def reap(self) -> None:
        """Collect supervisors that have ended."""
        self._own = {key: process for key, process in self._own.items() if process.poll() is None}

    def sweep(self, running: list[Job]) -> None:
        """Remove folders of runs that are over; a controller may have died before it could."""
        current = {self._layout.step(job.raw_id, job.restarts).folder.name for job in running}
        if self._layout.steps.exists():
            for folder in self._layout.steps.iterdir():
                if folder.name not in current:
                    shutil.rmtree(folder, ignore_errors=True)

    def _is_starting(self, job: Job) -> bool:
        process = self._own.get((job.raw_id, job.restarts))
        return process is not None and process.poll() is None

    def _mark(self, job: Job) -> str:
        return f"{self._cluster_id}:{job.raw_id}.{job.restarts}"

    def _array(self, job: Job) -> ArrayShape | None:
        if job.task is None:
            return None
        count, least, greatest = self._connection.execute(
            "SELECT count(*), min(task), max(task) FROM job WHERE id = ?", (job.id,)
        ).fetchone()
        return ArrayShape(count=count, least=least, greatest=greatest)

    def _order(self, job: Job, spec: JobSpec) -> dict[str, Any]:
        limit_signal = spec.limit_signal
        return {
            "script": str(self._layout.script(job.id)),
            "arguments": spec.arguments,
            "chdir": spec.chdir,
            "output": self._log(job, spec, "output"),
            "error": self._log(job, spec, "error"),
            "append": spec.options.get("open-mode") == "append",
            "time_limit_s": job.time_limit_s,
            "at_limit": self._stop_note(job, Stop.TIME_LIMIT),
            "kill_wait_s": self._kill_wait_s,
            "limit_signal": limit_signal
            and {
                "number": limit_signal.number,
                "seconds": limit_signal.seconds,
                "to_batch": limit_signal.to_batch,
            },
            "mark": self._mark(job),
            "wake": str(self._layout.wake),
        }

    def _log(self, job: Job, spec: JobSpec, option: str) -> str:
        """Return the full path of a log; empty for an error log that is the output log."""
        default = {"output": "slurm-%j.out" if job.task is None else "slurm-%A_%a.out"}
        pattern = spec.options.get(option, default.get(option))
        if pattern is None:
            return ""
        node = next(iter(json.loads(job.allocation)))
        values = pattern_values(
            raw_id=job.raw_id, job=job.id, task=job.task, name=job.name, node=node, user=_user_name()
        )
        return str(Path(spec.chdir) / expand(pattern, values))

    def _stop_note(self, job: Job, stop: Stop) -> dict[str, Any]:
        node = next(iter(json.loads(job.allocation)))
        line = stop.log_line(job.raw_id, node, "@NOW@")
        return {"stop": stop.value, "grace": stop.has_grace, "line": line}


def _user_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return str(os.getuid())
