"""Whole campaigns on the embedded scheduler, driven by the command line as a user would."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import yaml

from tests.cluster.real_slurm import Cluster
from tests.waiting import wait_until


@dataclass
class Campaign:
    """A user's folder with one root file, `c.yaml`, and the commands over it."""

    folder: Path
    fake: bool = True

    def write(self, **sections) -> None:
        document = {"defaults": ["bench", "_self_"], "project": {"name": "c", "base_output_dir": str(self.out)}}
        document["monitoring"] = {"interval_s": 0.1}
        for key, value in sections.items():
            document[key] = {**document.get(key, {}), **value} if isinstance(value, dict) else value
        (self.folder / "c.yaml").write_text(yaml.safe_dump(document))

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def session_dir(self) -> Path:
        (found,) = (path.parent for path in self.out.glob("*/session.json"))
        return found

    def argv(self, verb: str, *rest: str) -> list[str]:
        configured = verb in ("plan", "submit", "monitor", "run")
        where = ["c", "-C", str(self.folder)] if configured else []
        fake = ["--fake"] if self.fake and verb in ("submit", "monitor", "run") else []
        return [sys.executable, "-m", "oellm_bench", verb, *where, *fake, *rest]

    def run(self, verb: str, *rest: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(self.argv(verb, *rest), capture_output=True, text=True, timeout=timeout, cwd=self.folder)

    def json(self, verb: str, *rest: str) -> dict:
        done = self.run(verb, *rest, "--json")
        assert done.returncode in (0, 1), done.stderr
        return json.loads(done.stdout)

    def start(self, verb: str, *rest: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.argv(verb, *rest),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
        )

    def watcher(self) -> int | None:
        """Return the process that holds the session's lease."""
        for lease in (self.out / ".oellm-bench" / "monitor").glob("*.lease.json"):
            try:
                return int(json.loads(lease.read_text())["pid"])
            except (OSError, ValueError):
                continue
        return None

    def wait(self, condition: Callable[[], object], deadline_s: float = 60) -> object:
        """Return the first true value of a condition."""
        return wait_until(condition, deadline_s)

    def journal(self) -> list[dict]:
        return [json.loads(line) for line in (self.session_dir / "journal.jsonl").read_text().splitlines()]

    def jobs_by_token(self) -> Counter[str]:
        """Count the jobs the scheduler itself remembers, whatever the journal says."""
        from oellm_bench.assemble import open_scheduler
        from oellm_bench.session import read_session

        session = read_session(self.session_dir)
        snapshot = open_scheduler(session).snapshot("ob-", session.looked_up_since)
        return Counter(f"{row.name}/{row.job_id.task}" for row in snapshot.jobs)

    def processes(self) -> list[str]:
        """Return the command lines of living processes that belong to this campaign."""
        found = []
        for process in psutil.process_iter():
            try:
                line = " ".join(process.cmdline())
                if str(self.folder) in line and process.pid != os.getpid():
                    found.append(line)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return found


@pytest.fixture
def campaign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Campaign]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state home"))
    folder = tmp_path / "a user's folder"
    folder.mkdir()
    subject = Campaign(folder)
    yield subject
    for process in psutil.process_iter():  # what a failed test left behind
        try:
            if str(folder) in " ".join(process.cmdline()) and process.pid != os.getpid():
                process.send_signal(signal.SIGKILL)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue


# Calls as fast as they can be: only the tests' own user is on this cluster.
REAL_CLIENT = {"class_name": "SlurmClient", "calls_per_s": 50.0, "call_burst": 200, "lookup_grace_s": 15.0}


class RealCampaign(Campaign):
    """A campaign on a real cluster."""

    fake = False
    cluster: Cluster

    def write(self, **sections) -> None:
        slurm = {"client": REAL_CLIENT, **sections.pop("slurm", {})}
        slurm["sbatch"] = {"partition": "long", "mem": "80", **slurm.get("sbatch", {})}
        super().write(slurm=slurm, **sections)

    def states(self) -> list[str]:
        return [row["state"] for row in self.json("status")["entries"]]

    def job_ids(self) -> list[str]:
        return [row["job_id"] for row in self.json("status")["entries"]]

    def wait_running(self) -> None:
        """Wait until every entry runs."""
        self.wait(lambda: set(self.states()) == {"RUNNING"})

    def ended_modes(self) -> list[str]:
        return [event["mode"] for event in self.journal() if event["event"] == "Ended"]

    def results(self) -> dict[str, dict]:
        return {row["name"]: row for row in self.json("results")["entries"]}

    def jobs_in_accounting(self) -> Counter[str]:
        """Count the jobs under each of this session's tokens, as accounting tells them, array tasks one by one."""
        prefix = f"ob-{self.session_dir.name.rsplit('_', 1)[-1]}-"
        rows = self.cluster.command(
            "sacct", "-nPXD", "-S", "now-1day", "-o", "JobID,State,JobName", check=False
        ).splitlines()
        named = [row.split("|") for row in rows]
        return Counter(f"{name}/{job.partition('_')[2]}" for job, _, name in named if name.startswith(prefix))

    def assert_each_succeeded_once(self, entries: int) -> None:
        """Assert that so many entries ran well, and that SLURM saw one job each."""
        assert self.ended_modes() == ["success"] * entries
        # Accounting calls a job that is seconds old `allocation`, so its name may come late.
        self.wait(lambda: sum(self.jobs_in_accounting().values()) >= entries)
        jobs = self.jobs_in_accounting()
        assert len(jobs) == entries and set(jobs.values()) == {1}


def on_cluster(campaign: Campaign, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> RealCampaign:
    """Return the campaign as one on a real cluster."""
    for name, value in cluster.environment.items():
        monkeypatch.setenv(name, value)
    real = RealCampaign(campaign.folder, fake=False)
    real.cluster = cluster
    return real


@pytest.fixture
def real(campaign: Campaign, slurm_cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> RealCampaign:
    """A campaign on the cluster that all tests share."""
    return on_cluster(campaign, slurm_cluster, monkeypatch)
