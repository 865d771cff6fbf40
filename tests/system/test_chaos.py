"""Everything at once: random node failures, preemptions, hangs, OOM, crashes, rotated logs, `kill -9` of the monitor.

The seed is printed where a test fails; OELLM_BENCH_CHAOS_SEED repeats it.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import time
from collections import Counter
from dataclasses import dataclass

import pytest

from oellm_bench.assemble import open_scheduler
from oellm_bench.core.job import JobState
from oellm_bench.core.plan import read_plan
from oellm_bench.core.result import ErrorMode
from oellm_bench.schedulers.embedded.fault import inject
from oellm_bench.session import read_session

NODES, CPUS_PER_NODE = 4, 4
EXTERNAL = ["preempt"] * 3 + ["oom"] * 3 + ["node_fail", "sbatch_timeout", "outage"]
PLANS = ["ok", "crash ok", "hang ok", "crash hang ok", "crash crash ok", "doomed", "hang doomed"]
RESTARTED = [ErrorMode.CRASH, ErrorMode.STALL, ErrorMode.OOM, ErrorMode.PREEMPTED, ErrorMode.NODE_FAIL]
# The scheduler's word for the end of a job, and what it has to be called.
MODES = {
    JobState.COMPLETED: {"success"},
    JobState.FAILED: {"crash", "nan"},
    JobState.CANCELLED: {"stall"},
    JobState.PREEMPTED: {"preempted"},
    JobState.NODE_FAIL: {"node_fail"},
    JobState.OUT_OF_MEMORY: {"oom"},
}

# chaos.sh N ROTATE STEPS: each attempt goes on with the first step that no attempt before has got to the end of.
SCRIPT = r"""
n=$1 rotate=$2
set -- $3
ends=$OELLM_BENCH_ENTRY_DIR/ends
if [ -e "$ends" ]; then shift "$(wc -l <"$ends")"; fi
log=$OELLM_BENCH_ENTRY_DIR/attempts/$OELLM_BENCH_ATTEMPT/stdout.log
older() { if [ -e "$log.1" ]; then mv "$log.1" "$log.2"; fi; }
act=0
while [ "$act" -lt 5 ]; do
  act=$((act + 1))
  echo "reached: $n-$OELLM_BENCH_ATTEMPT-$act"
  case $rotate$act in
    rename3 | both2) older; mv "$log" "$log.1"; exec >>"$log" ;;
    copy3 | both4) older; cp "$log" "$log.1"; : >"$log" ;;
  esac
  sleep "0.$((n % 3 + 1))"
done
case $1 in
  crash) echo over >>"$ends"; exit 3 ;;
  hang) echo over >>"$ends"; exec sleep 600 ;;
  doomed) echo "loss NaN"; exit 9 ;;
esac
"""


@dataclass(frozen=True)
class Attempt:
    """What the journal and the scheduler say of one attempt."""

    entry: str
    number: int
    mode: str
    asked_to_stop: bool
    exited_with_0: bool
    state: JobState
    submitted_at: float
    ended_at: float


class Chaos:
    """A campaign, a seed, and what happens to it."""

    def __init__(self, campaign, entries, seed):
        self.campaign, self.chance = campaign, random.Random(seed)
        self.plans = [PLANS[n % len(PLANS)] for n in range(entries)]
        self.chance.shuffle(self.plans)
        self.faults_left = entries
        self.kills = 0
        self.injected = Counter()
        self.write()

    def write(self):
        script = self.campaign.folder / "chaos.sh"
        script.write_text(SCRIPT)
        points = [
            {"n": n, "plan": plan, "rotate": self.chance.choice(["no", "rename", "copy", "both"])}
            for n, plan in enumerate(self.plans)
        ]
        always = {"class_name": "AlwaysRestartPolicy", "max_retries": 100}
        self.campaign.write(
            project={"timeout_s": 600},
            slurm={
                "array": self.chance.random() < 0.5,
                "client": {
                    "class_name": "FakeSlurmClient",
                    "nodes": NODES,
                    "cpus_per_node": CPUS_PER_NODE,
                    "kill_wait_s": 5.0,
                },
            },
            backend={"class_name": "CommandBackend", "command": ["sh", str(script), "{n}", "{rotate}", "{plan}"]},
            capture={"enabled": False},
            sweep={"axes": points, "name_template": "e{n}"},
            restart={"max_restarts": 1000},
            restart_policies=[
                *({"mode": mode.value, "implementation": always} for mode in RESTARTED),
                {"mode": "nan", "implementation": {"class_name": "NoRestartPolicy"}},
            ],
            monitoring={
                "interval_s": 0.1,
                "inactivity_s": 3,
                "startup_s": 30,
                "log_signals": [
                    {"name": "reached", "pattern": r"^reached: (?P<number>\S+)$", "action": "note"},
                    {"name": "nan_loss", "pattern": "loss NaN", "pattern_type": "substring", "mode": "nan"},
                ],
                "actions": {"note": ["sh", "-c", 'echo "$OELLM_BENCH_ACTION_ID $1" >>noted', "sh", "{number}"]},
            },
        )

    def run(self):
        """Watch to the end with monitors of which each but the last is killed."""
        self.campaign.run("submit")
        self.session = read_session(self.campaign.session_dir)
        self.scheduler = open_scheduler(self.session)
        told = self.campaign.folder / "monitor.log"  # no pipe: nobody reads before it has ended
        while True:
            with told.open("w") as output:
                monitor = subprocess.Popen(
                    self.campaign.argv("monitor"), stdout=output, stderr=output, cwd=self.campaign.folder
                )
            try:
                # However long Python takes to start here: what is killed has been at work.
                self.campaign.wait(lambda m=monitor: m.poll() is not None or self.campaign.watcher() == m.pid)
                if self.ends_within(monitor, self.chance.uniform(0, 4)):
                    return monitor.returncode, told.read_text()
            finally:
                monitor.kill()
                monitor.wait()
            self.kills += 1

    def ends_within(self, monitor, seconds):
        """Tell whether the monitor ends by itself, faults meanwhile."""
        deadline = time.monotonic() + seconds
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                monitor.wait(timeout=min(left_s, self.chance.uniform(0.05, 0.5)))
                return True
            except subprocess.TimeoutExpired:
                if self.faults_left:
                    self.strike()
        return False

    def strike(self):
        """Have something go wrong for which no script is to blame."""
        kind = self.chance.choice(EXTERNAL)
        arguments = {
            "node_fail": {"node": f"node{self.chance.randint(1, NODES)}", "down_s": 1},
            "sbatch_timeout": {"count": 1},
            "outage": {"seconds": 0.5},
        }.get(kind)
        if arguments is None:
            running = [row for row in self.jobs() if row.state is JobState.RUNNING]
            if not running:
                return
            arguments = {"job": str(self.chance.choice(running).job_id)}
        inject(self.session.state_layout.scheduler("FakeSlurmClient"), kind, **arguments)
        self.faults_left -= 1
        self.injected[kind] += 1

    def jobs(self):
        """Return what the scheduler itself remembers of every job."""
        return self.scheduler.snapshot("ob-", self.session.looked_up_since).jobs

    def attempts(self):
        """Return all attempts, the jobs of each looked up in the scheduler's own record."""
        rows = {str(row.job_id): row for row in self.jobs()}
        names = {entry.id: entry.name for entry in read_plan(self.session.layout.sweep).entries}
        asked = {(e["entry"], e["attempt"]) for e in self.campaign.journal() if e["event"] == "CancelAsked"}
        found = []
        for entry in self.session.store().state.entries.values():
            for attempt in entry.attempts:
                row = rows.pop(attempt.job_id)
                record = self.session.layout.entry(names[entry.id]).attempt(attempt.number).exit
                found.append(
                    Attempt(
                        entry=names[entry.id],
                        number=attempt.number,
                        mode=attempt.mode.value,
                        asked_to_stop=(entry.id, attempt.number) in asked,
                        exited_with_0=record.exists() and json.loads(record.read_text())["returncode"] == 0,
                        state=row.state,
                        submitted_at=row.submitted_at,
                        ended_at=row.ended_at,
                    )
                )
        assert not rows, f"jobs of no attempt: {rows}"
        return found

    def reached(self):
        """Count the lines of each signal in the logs: two where a script was killed between copying and emptying."""
        logs = [path.read_text() for path in self.session.layout.root.glob("entries/*/attempts/*/stdout.log*")]
        return Counter(number for text in logs for number in re.findall(r"^reached: (\S+)$", text, re.MULTILINE))


@pytest.fixture
def chaos(campaign, entries):
    seed = int(os.environ.get("OELLM_BENCH_CHAOS_SEED") or random.randrange(2**32))
    print(f"OELLM_BENCH_CHAOS_SEED={seed}")
    return Chaos(campaign, entries, seed)


@pytest.mark.parametrize("entries", [36, pytest.param(200, marks=pytest.mark.soak)])
def test_all_ends_right_whatever_happens(chaos):
    began = time.monotonic()
    code, told = chaos.run()
    took_s = time.monotonic() - began
    assert code == 1, told  # some are doomed
    attempts = chaos.attempts()
    print(f"{took_s:.0f} s, {chaos.kills} kills, {len(attempts)} attempts, {dict(chaos.injected)}")
    assert chaos.kills, "the campaign was over before anything was killed"
    expect_ends(chaos, attempts)
    expect_one_job_at_a_time(chaos, attempts)
    expect_each_action_once(chaos)
    chaos.campaign.wait(lambda: not chaos.campaign.processes())


def expect_ends(chaos, attempts):
    """Expect of each entry the end that its plan leads to, and of each attempt what the scheduler says of it."""
    results = {row["name"]: row for row in chaos.campaign.json("results")["entries"]}
    assert {name: row["error_mode"] for name, row in results.items()} == {
        f"e{n}": "nan" if plan.endswith("doomed") else "success" for n, plan in enumerate(chaos.plans)
    }
    plans = {f"e{n}": plan for n, plan in enumerate(chaos.plans)}
    wrong = []
    for attempt in attempts:
        right = set(MODES[attempt.state])
        right |= {"nan"} if plans[attempt.entry].endswith("doomed") else set()
        right |= {"stall"} if attempt.asked_to_stop else set()
        right |= {"success"} if attempt.exited_with_0 else set()  # what has succeeded has succeeded
        if attempt.mode not in right:
            wrong.append(attempt)
    assert wrong == []
    assert {attempt.mode for attempt in attempts} >= {"success", "crash", "stall", "nan"}


def expect_one_job_at_a_time(chaos, attempts):
    """Expect no job twice, none that is still there, and of each entry no attempt before the one before has ended."""
    assert set(chaos.campaign.jobs_by_token().values()) == {1}
    assert [row for row in chaos.jobs() if not row.state.is_terminal] == []
    ended = {(attempt.entry, attempt.number): attempt.ended_at for attempt in attempts}
    early = [
        attempt
        for attempt in attempts
        if attempt.number > 1 and attempt.submitted_at < ended[attempt.entry, attempt.number - 1]
    ]
    assert early == []


def expect_each_action_once(chaos):
    """Expect one try that went well for each signal in the logs, under an id that is nobody else's."""
    calls = [line.split() for line in (chaos.campaign.folder / "noted").read_text().splitlines()]
    ids, numbers = Counter(call[0] for call in calls), Counter(call[1] for call in calls)
    assert {action: count for action, count in ids.items() if count > 1} == {}
    reached = chaos.reached()
    assert {number for number in reached if number not in numbers} == set()
    assert {number: count for number, count in numbers.items() if not 1 <= count <= reached[number]} == {}
    tried = [event for event in chaos.campaign.journal() if event["event"] == "ActionTried"]
    assert Counter(event["id"] for event in tried if event["ok"]) == ids
