"""SLURM's commands as programs that answer what a test has written, and a session that is watched through them.

The client, its processes and its parsing are the real ones; only what the cluster says is the test's, and the clock.
"""

from __future__ import annotations

import json
import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from typing import Any

from oellm_bench.assemble import make_monitor
from oellm_bench.clock import ManualClock
from oellm_bench.core.events import Event, Selected, from_document
from oellm_bench.core.job import Snapshot
from oellm_bench.core.layout import AttemptLayout
from oellm_bench.core.result import EntryResult, ExitRecord
from oellm_bench.monitor import Cycle, Monitor
from oellm_bench.schedulers.slurm import SlurmClient, SlurmConfig
from oellm_bench.session import Session
from oellm_bench.state.model import AttemptState, EntryState

BEGUN = 1_767_225_600.0  # 2026-01-01T00:00:00Z, when every session here was planned
GRACE_S = 60.0  # of the client, for submissions whose answer got lost
_S = "\x1f"
_COMMANDS = ("sbatch", "squeue", "sacct", "scancel", "scontrol")
_PROGRAM = """\
#!/bin/sh
folder=${0%/bin/*} name=${0##*/}
printf '%s\\n' "$name $*" >>"$folder/calls"
if [ -e "$folder/$name.says" ]; then cat "$folder/$name.says" >&2; exit 1; fi
if [ "$name" = sbatch ]; then
  number=$(($(cat "$folder/number") + 1)) && echo "$number" >"$folder/number" && echo "$number"
elif [ -e "$folder/$name.prints" ]; then
  cat "$folder/$name.prints"
fi
if [ -e "$folder/$name.then" ]; then . "$folder/$name.then"; fi
"""


class Cluster:
    """A folder of programs for PATH. sbatch gives the ids 101, 102, ...; the queries say nothing until told to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "bin"
        self.bin.mkdir(parents=True)
        for name in _COMMANDS:
            (self.bin / name).write_text(_PROGRAM)
            (self.bin / name).chmod(0o755)
        (folder / "number").write_text("100\n")
        (folder / "calls").touch()

    def queue(self, *rows: str) -> None:
        """Have squeue print these rows from now on."""
        self._prints("squeue", rows)

    def accounting(self, *rows: str) -> None:
        """Have sacct print these rows from now on."""
        self._prints("sacct", rows)

    def fail(self, command: str, message: str = "Unable to contact slurm controller (connect failure)") -> None:
        """Have a command fail with this message from now on."""
        (self.folder / f"{command}.says").write_text(f"{command}: error: {message}\n")

    def mend(self, command: str) -> None:
        """Have a command work again."""
        (self.folder / f"{command}.says").unlink()

    def then(self, command: str, script: str) -> None:
        """Have a command run this too, once it has given its answer."""
        (self.folder / f"{command}.then").write_text(script)

    def calls(self, command: str) -> list[str]:
        """Return the command lines of all calls so far that begin with a command."""
        return [
            line for line in (self.folder / "calls").read_text().splitlines() if f"{line} ".startswith(f"{command} ")
        ]

    def _prints(self, command: str, rows: Collection[str]) -> None:
        (self.folder / f"{command}.prints").write_text("".join(f"{row}\n" for row in rows))


class Client(SlurmClient):
    """The real client, on a clock that the test turns; what failed once is asked again at once."""

    def __init__(self, folder: Path, clock: ManualClock) -> None:
        super().__init__(SlurmConfig(calls_per_s=1e4, call_burst=10_000, lookup_grace_s=GRACE_S), folder)
        self._clock = clock

    def snapshot(self, prefix: str, since: float, *, insist: bool = False) -> Snapshot:
        return replace(super().snapshot(prefix, since, insist=True), taken_at=self._clock.now())


class Watched:
    """A session on a scripted cluster, with the monitor that watches it."""

    def __init__(self, session: Session, cluster: Cluster, clock: ManualClock) -> None:
        self.session = session
        self.cluster = cluster
        self.clock = clock
        self.monitor = self.another_monitor()
        with self.monitor.store.locked():
            entries = tuple(entry.id for entry in self.monitor.plan.entries)
            self.monitor.store.append(Selected(at=clock.now(), entries=entries))

    def another_monitor(self) -> Monitor:
        """Return a monitor as another process would have it: with nothing in memory."""
        monitor = make_monitor(self.session, {}, self.clock)
        client = Client(self.session.state_layout.root / "slurm", self.clock)
        monitor.scheduler = monitor.submitter.scheduler = monitor.requeuer.scheduler = client
        return monitor

    def submit(self) -> None:
        """Submit what is due, and let a second pass."""
        self.monitor.submitter.submit_due()
        self.clock.sleep(1)

    def look(self, after_s: float = 0.0) -> Cycle:
        """Let time pass, then run one cycle."""
        self.clock.sleep(after_s)
        return self.monitor.step()

    def entry(self, index: int = 0) -> EntryState:
        return self.monitor.store.state.entries[self.monitor.plan.entries[index].id]

    def attempt(self, index: int = 0) -> AttemptState:
        """Return the newest attempt of an entry."""
        last = self.entry(index).last
        assert last is not None
        return last

    def files(self, index: int = 0, attempt: int = 1) -> AttemptLayout:
        """Return an attempt's folder, which is made where it is not there."""
        layout = self.session.layout.entry(self.monitor.plan.entries[index].name).attempt(attempt)
        layout.root.mkdir(parents=True, exist_ok=True)
        return layout

    def modes(self) -> list[str]:
        """Return how the attempts ended that have ended."""
        return [event.mode for event in self.events("Ended")]

    def events(self, kind: str) -> list[Any]:
        """Return the events of a kind in the journal."""
        path = self.session.state_layout.journal(self.session.id)
        path = self.session.layout.journal if self.session.layout.journal.exists() else path
        found: list[Event] = [from_document(json.loads(line)) for line in path.read_text().splitlines()]
        return [event for event in found if type(event).__name__ == kind]

    def queue_row(self, state: str, index: int = 0, **values: Any) -> str:
        """Return squeue's row for an entry's job."""
        attempt = self.attempt(index)
        return queue_row(attempt.job_id, state, **{"name": attempt.token, **values})

    def account_row(self, state: str, index: int = 0, **values: Any) -> str:
        """Return sacct's row for an entry's job."""
        attempt = self.attempt(index)
        return account_row(attempt.job_id, state, **{"name": attempt.token, **values})

    def leave_record(self, index: int = 0, *, returncode: int = 0, restarts: int = 0, **values: Any) -> None:
        """Leave the records that a job writes at its end."""
        attempt, files = self.attempt(index), self.files(index, self.attempt(index).number)
        record = ExitRecord(
            token=attempt.token, attempt=attempt.number, returncode=returncode, restarts=restarts, **values
        )
        planned = self.monitor.plan.entries[index]
        result = EntryResult(
            name=planned.name,
            id=planned.id,
            attempt=attempt.number,
            success=returncode == 0,
            error_mode="success" if returncode == 0 else "crash",
        )
        files.results.write_text(json.dumps(result.to_document()))
        files.exit.write_text(json.dumps(record.to_document()))


def queue_row(
    job: str, state: str, *, name: str, restarts: int = 0, reason: str = "None", started_s: float = 1, code: int = 0
) -> str:
    """Return a row as squeue prints it in the format it is asked for."""
    times = (at(0), at(started_s), at(started_s + 60))
    values = (name, job, state, "node1", *times, "10:00", restarts, code, reason)
    return "".join(f"{value!s:20}{_S}" for value in values)


def account_row(job: str, state: str, *, name: str, code: str = "0:0", started_s: float = 1) -> str:
    """Return a row as sacct prints it in the format it is asked for."""
    times = (at(0), at(started_s), at(started_s + 60))
    return _S.join((job, state, code, "node1", *times, "10", "", "billing=1,cpu=1", name))


def at(seconds: float) -> str:
    """Return SLURM's text for a time after the session was planned."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(BEGUN + seconds))
