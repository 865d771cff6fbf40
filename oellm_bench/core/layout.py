"""Where every file of a session lies, one method each."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class EntryLayout:
    """The folder of one entry."""

    root: Path

    @property
    def results(self) -> Path:
        """The normalised result of the latest attempt, a copy of the attempt's own."""
        return self.root / "results.json"

    @property
    def benchmark_results(self) -> Path:
        """Where the script writes params.json, metrics.json and tasks.pkl."""
        return self.root / "benchmark_results"

    @property
    def artifacts(self) -> Path:
        """What was recorded of the latest attempt: environment, resources."""
        return self.root / "artifacts"

    @property
    def scratch(self) -> Path:
        """Room for temporary files, deleted after the entry where the plan says so."""
        return self.root / "scratch"

    @property
    def ray_cluster(self) -> Path:
        """Ray's own logs, kept for debugging."""
        return self.root / "ray_cluster"

    def attempt(self, number: int) -> AttemptLayout:
        """Return the folder of attempt `number` (from 1)."""
        if number not in self._attempts:
            self._attempts[number] = AttemptLayout(self.root / "attempts" / str(number))
        return self._attempts[number]

    @functools.cached_property
    def _attempts(self) -> dict[int, AttemptLayout]:
        # Joined once: a monitor asks for thousands of them in every cycle.
        return {}


@dataclass(frozen=True)
class AttemptLayout:
    """The folder of one attempt."""

    root: Path

    @functools.cached_property
    def stdout(self) -> Path:
        """What the command wrote to stdout."""
        return self.root / "stdout.log"

    @functools.cached_property
    def stderr(self) -> Path:
        """What the command wrote to stderr."""
        return self.root / "stderr.log"

    @property
    def ray_startup(self) -> Path:
        """What the start of the Ray head wrote."""
        return self.root / "ray_startup.log"

    @property
    def results(self) -> Path:
        """The normalised result of this very attempt."""
        return self.root / "results.json"

    @property
    def exit(self) -> Path:
        """How the attempt ended, in its own words."""
        return self.root / "exit.json"

    @property
    def heartbeat(self) -> Path:
        """The latest sign of life: what the attempt uses, and how far it is."""
        return self.root / "heartbeat.json"

    @property
    def stacks(self) -> Path:
        """Where its Python processes were when it was stopped for being stuck."""
        return self.root / "stacks.txt"

    @property
    def stop_order(self) -> Path:
        """Why the monitor cancels the job, for the job itself to know; not there when others cancel it."""
        return self.root / "stop.json"

    @property
    def slurm_output(self) -> str:
        """What sbatch gets for --output; %j becomes the job id."""
        return f"{str(self.root).replace('%', '%%')}/slurm-%j.out"

    def slurm_log(self, job_id: str) -> Path:
        """Return the file the scheduler writes for that job."""
        return self.root / f"slurm-{job_id}.out"


@dataclass(frozen=True)
class SessionLayout:
    """The folder of one session."""

    root: Path

    @property
    def session(self) -> Path:
        """Name, versions, provenance."""
        return self.root / "session.json"

    @property
    def sweep(self) -> Path:
        """The plan."""
        return self.root / "sweep.json"

    @property
    def config(self) -> Path:
        """The composed configuration, secrets left as references."""
        return self.root / "config.yaml"

    @property
    def scripts(self) -> Path:
        """The rendered sbatch scripts."""
        return self.root / "scripts"

    @property
    def installed(self) -> Path:
        """What is installed for each interpreter, kept for the entries that run the same one."""
        return self.root / "installed"

    @property
    def ray(self) -> Path:
        """The Ray head that entries share, its logs and who keeps it."""
        return self.root / "ray"

    @property
    def ray_socket(self) -> Path:
        """Where entries ask for that head."""
        return self.ray / "head.sock"

    @property
    def slurm_logs(self) -> Path:
        """What the scheduler writes for array tasks."""
        return self.root / "slurm"

    @property
    def journal(self) -> Path:
        """The journal of the session, once it is finished."""
        return self.root / "journal.jsonl"

    @property
    def results(self) -> Path:
        """One line per finished entry."""
        return self.root / "results.jsonl"

    @property
    def sinks(self) -> Path:
        """What the sinks' processes have written, one log each."""
        return self.root / "sinks"

    @property
    def report(self) -> Path:
        """The page for people."""
        return self.root / "report.html"

    @property
    def array_output(self) -> str:
        """What sbatch gets for --output of an array; %A_%a becomes `123_4`."""
        return f"{str(self.slurm_logs).replace('%', '%%')}/slurm-%A_%a.out"

    def entry(self, name: str) -> EntryLayout:
        """Return the folder of the entry of that name."""
        if name not in self._entries:
            self._entries[name] = EntryLayout(self.root / "entries" / name)
        return self._entries[name]

    @functools.cached_property
    def _entries(self) -> dict[str, EntryLayout]:
        return {}

    def scheduler_log(self, name: str, attempt: int, job_id: str) -> Path:
        """Return the scheduler's own log of an attempt, array task or not."""
        if "_" in job_id:
            return self.slurm_logs / f"slurm-{job_id}.out"
        return self.entry(name).attempt(attempt).slurm_log(job_id)


@dataclass(frozen=True)
class StateLayout:
    """The state folder of a project, shared by its sessions."""

    root: Path

    @property
    def snapshot(self) -> Path:
        """What every unfinished session is doing; gone when none is left."""
        return self.root / "monitor" / "state.json"

    @property
    def snapshot_lock(self) -> Path:
        """Held while the snapshot is rewritten."""
        return self.root / "monitor" / "state.lock"

    def journal(self, session: str) -> Path:
        """Return the journal of an unfinished session: the truth about it."""
        return self.root / "monitor" / session / "journal.jsonl"

    def journal_lock(self, session: str) -> Path:
        """Return what is held while a session's journal is appended to or archived.

        It outlives the journal: a lock on a file that is deleted meanwhile locks nothing.
        """
        return self.root / "monitor" / f"{session}.lock"

    def lease(self, session: str) -> Path:
        """Return the file that says who monitors a session."""
        return self.root / "monitor" / f"{session}.lease.json"

    @property
    def submit_lock(self) -> Path:
        """Held while a submit looks for the session to go on with, or makes one."""
        return self.root / "submit.lock"

    @property
    def baseline(self) -> Path:
        """The session each project is held against."""
        return self.root / "baseline.json"

    @property
    def baseline_lock(self) -> Path:
        """Held while a baseline is chosen."""
        return self.root / "baseline.lock"

    def scheduler(self, class_name: str) -> Path:
        """Return the folder of a scheduler's own files: the embedded one's jobs, the ledger of calls of a real one."""
        return self.root / ("fake-slurm" if class_name == "FakeSlurmClient" else "slurm")

    def monitor_job_lock(self, session: str) -> Path:
        """Held while a monitor's own job is looked for and submitted."""
        return self.root / "monitor" / f"{session}.job.lock"
