"""kill -9 at any time: same results, no duplicate attempt, no signal fired twice."""

from __future__ import annotations

import random
import subprocess
from collections import Counter

import pytest

COMMAND = r"""
echo "Checkpoint saved: /ck/{n}-a$OELLM_BENCH_ATTEMPT.pt"
sleep 0.3
echo "late: /ck/{n}-a$OELLM_BENCH_ATTEMPT.pt"
if [ {n} -ge 4 ] && [ "$OELLM_BENCH_ATTEMPT" -lt 2 ]; then exit 5; fi
"""
ENTRIES = 6


@pytest.fixture
def prepared(campaign):
    seen = campaign.folder / "seen"
    campaign.write(
        backend={"class_name": "CommandBackend", "command": COMMAND},
        sweep={"axes": {"n": list(range(ENTRIES))}},
        restart_policies=[{"mode": "crash", "implementation": {"class_name": "AlwaysRestartPolicy", "max_retries": 2}}],
        monitoring={
            "interval_s": 0.05,
            "log_signals": [
                {"name": "early", "pattern": "Checkpoint saved: (?P<path>.+)", "action": "note"},
                {"name": "late", "pattern": "late: (?P<path>.+)", "action": "note"},
            ],
            "actions": {"note": ["sh", "-c", f'echo "$1 $OELLM_BENCH_ACTION_ID" >>"{seen}"', "sh", "{path}"]},
        },
    )
    return campaign


def expected_attempts(n: int) -> int:
    return 2 if n >= 4 else 1


def check(campaign) -> None:
    results = {row["name"]: row for row in campaign.json("results")["entries"]}
    assert {name: (row["success"], row["attempts"]) for name, row in results.items()} == {
        f"n{n}": (True, expected_attempts(n)) for n in range(ENTRIES)
    }
    attempts = sum(expected_attempts(n) for n in range(ENTRIES))
    jobs = campaign.jobs_by_token()
    assert len(jobs) == attempts and set(jobs.values()) == {1}, jobs
    signals = Counter(
        (event["entry"], event["attempt"], signal["position"])
        for event in campaign.journal()
        if event["event"] == "LogRead"
        for signal in event["signals"]
    )
    assert len(signals) == 2 * attempts and set(signals.values()) == {1}
    lines = (campaign.folder / "seen").read_text().splitlines()
    assert Counter(Counter(lines).values()) == {1: 2 * attempts}


SOAK = [pytest.param(seed, marks=pytest.mark.soak) for seed in range(100, 140)]


@pytest.mark.parametrize("seed", [1, 2, 3, *SOAK])
def test_monitor_killed_at_random_points(prepared, seed):
    chance = random.Random(seed)
    prepared.run("submit")
    kills = 0
    for _ in range(8):
        monitor = prepared.start("monitor")
        prepared.wait(lambda m=monitor: m.poll() is not None or prepared.watcher() == m.pid)
        try:
            # kill -9 at any point of its work; the first time before it can have ended
            monitor.wait(timeout=chance.random() * (1.5 if kills else 0.2))
        except subprocess.TimeoutExpired:
            monitor.kill()
            kills += 1
        monitor.wait()
        monitor.stdout.close()
        if monitor.returncode >= 0:
            break
    assert kills, "the campaign was over before anything was killed"
    last = prepared.run("monitor")
    assert last.returncode == 0, last.stderr
    check(prepared)


def test_submit_killed_at_random_points(prepared):
    chance = random.Random(7)
    for _ in range(10):
        submit = prepared.start("submit")
        prepared.wait(lambda s=submit: s.poll() is not None or list(prepared.out.glob("*/session.json")))
        try:
            submit.wait(timeout=chance.random() * 0.15)  # between the plan on disk and the last id in the journal
        except subprocess.TimeoutExpired:
            submit.kill()
            submit.wait()
        submit.stdout.close()
    # 4 where nobody can tell yet whether the last one that was killed got through: the monitor finds out.
    assert prepared.run("submit").returncode in (0, 4)
    assert prepared.run("monitor").returncode == 0
    check(prepared)


def test_a_monitor_killed_before_it_put_the_journal_away_is_followed_by_one_that_does(campaign):
    campaign.write(backend={"class_name": "CommandBackend", "command": "true"})
    assert campaign.run("run").returncode == 0
    archived, session = campaign.session_dir / "journal.jsonl", campaign.session_dir.name
    journal = campaign.out / ".oellm-bench" / "monitor" / session / "journal.jsonl"
    journal.parent.mkdir()
    archived.rename(journal)
    assert campaign.run("monitor", "--session", session).returncode == 0
    assert archived.exists()
    assert not journal.exists()
