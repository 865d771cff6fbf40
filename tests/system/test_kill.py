"""kill -9 at any time: same results, no duplicate attempt, no signal fired twice."""

from __future__ import annotations

import random
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


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_monitor_killed_at_random_points(prepared, seed):
    chance = random.Random(seed)
    prepared.run("submit")
    for _ in range(200):
        monitor = prepared.start("monitor")
        try:
            monitor.wait(timeout=0.45 + chance.random() * 0.8)
        except Exception:
            monitor.kill()
            monitor.wait()
        finally:
            output = monitor.stdout.read()
            monitor.stdout.close()
        if monitor.returncode >= 0:
            break
    assert monitor.returncode == 0, output
    check(prepared)


def test_submit_killed_at_random_points(prepared):
    chance = random.Random(7)
    for _ in range(12):
        submit = prepared.start("submit")
        try:
            submit.wait(timeout=0.5 + chance.random() * 0.25)
        except Exception:
            submit.kill()
            submit.wait()
        submit.stdout.close()
    assert prepared.run("submit").returncode == 0
    assert prepared.run("monitor").returncode == 0
    check(prepared)
