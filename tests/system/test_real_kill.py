"""`kill -9` of submit and monitor on a real SLURM cluster: nothing is lost, nothing is done twice."""

from __future__ import annotations

import random
import subprocess

import pytest

pytestmark = [pytest.mark.slurm, pytest.mark.xdist_group("slurm")]

SOAK = [pytest.param(seed, marks=pytest.mark.soak) for seed in range(200, 205)]


@pytest.mark.parametrize("seed", [1, *SOAK])
def test_sixty_short_jobs_with_submit_and_monitor_killed_twenty_times(real, seed):
    chance = random.Random(seed)
    real.write(
        backend={"class_name": "CommandBackend", "command": "sleep 8"},
        sweep={"axes": {"n": list(range(60))}},
        monitoring={"interval_s": 0.5},
    )
    kills = 0
    for _ in range(80):  # some end by themselves before they are killed
        finished = any(real.out.glob("*/journal.jsonl"))
        if kills == 20 or finished:
            break
        begun = any((real.out / ".oellm-bench" / "monitor").glob("*/journal.jsonl"))
        process = real.start(chance.choice(["submit", "monitor"]) if begun else "submit")
        try:
            process.wait(timeout=0.4 + 1.4 * chance.random())  # any point of its work, once Python has started
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
        process.communicate()
    real.run("submit", timeout=300)
    assert real.run("monitor", timeout=300).returncode == 0
    results = real.results()
    assert len(results) == 60 and all(row["success"] and row["attempts"] == 1 for row in results.values())
    real.wait(lambda: sum(real.jobs_in_accounting().values()) >= 60)
    jobs = real.jobs_in_accounting()
    assert len(jobs) == 60 and set(jobs.values()) == {1}
    assert kills == 20
