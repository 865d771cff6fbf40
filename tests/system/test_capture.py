"""What running entries tell of themselves, and what is done where they tell of nothing new."""

from __future__ import annotations

import json
import sys
import time

CAPTURE = {"interval_s": 0.1, "packages": False}
PROGRESS = r"iteration (?P<iteration>\d+)(/(?P<total>\d+))?"


def write(campaign, code, **sections):
    """Write a campaign whose entries run Python code, told by `KIND` what to do."""
    campaign.write(
        backend={
            "class_name": "CommandBackend",
            "command": [sys.executable, "-c", code],
            "environment": {"KIND": "{kind}"},
            "progress": PROGRESS,
        },
        **{"capture": CAPTURE, "sweep": {"axes": {"kind": ["a"]}}, **sections},
    )


def attempt(campaign, name="kinda", number=1):
    return campaign.session_dir / "entries" / name / "attempts" / str(number)


def test_status_tells_how_far_a_running_entry_is_and_a_cancel_takes_no_stacks(campaign):
    write(campaign, "import time; print('iteration 12/30 loss nan', flush=True); time.sleep(600)")
    campaign.run("submit")
    campaign.wait(lambda: campaign.json("status")["entries"][0].get("progress"))
    (row,) = campaign.json("status")["entries"]
    assert (row["progress"]["iteration"], row["progress"]["total"]) == (12, 30)
    assert 0 <= row["heartbeat_age_s"] < 10
    assert " 12/30 " in campaign.run("status").stdout
    began = time.monotonic()
    campaign.run("cancel", campaign.session_dir.name)
    assert campaign.run("monitor").returncode == 1
    assert time.monotonic() - began < 15
    (row,) = campaign.json("results")["entries"]
    assert row["error_mode"] == "cancelled"
    assert not (attempt(campaign) / "stacks.txt").exists() and not (attempt(campaign) / "stop.json").exists()
    (row,) = campaign.json("status", campaign.session_dir.name)["entries"]
    assert (row["progress"], row["heartbeat_age_s"]) == ({}, None)
    campaign.wait(lambda: not campaign.processes())


STALLS = """
import os, time
def sleeps_for_ever():
    time.sleep(600)
def goes_in_circles():
    while True:
        print("iteration 5", flush=True)
        time.sleep(0.05)
sleeps_for_ever() if os.environ["KIND"] == "silent" else goes_in_circles()
"""


def test_silence_and_a_standstill_are_stalls_with_a_reason_and_the_stacks(campaign):
    kinds = ["silent", "circling"]
    limits = {"inactivity_s": 2, "progress_s": 2}
    write(campaign, STALLS, sweep={"axes": {"kind": kinds}}, monitoring=limits, restart_policies=[])
    assert campaign.run("run").returncode == 1
    found = {row["name"]: row for row in campaign.json("results")["entries"]}
    assert {row["error_mode"] for row in found.values()} == {"stall"}
    assert found["kindsilent"]["reason"].startswith("no output for ")
    assert found["kindcircling"]["reason"].startswith("at iteration 5 for ")
    assert "sleeps_for_ever" in (attempt(campaign, "kindsilent") / "stacks.txt").read_text()
    rows = {row["name"]: row for row in campaign.json("status", campaign.session_dir.name)["entries"]}
    assert rows["kindcircling"]["progress"]["iteration"] == 5  # how far it got is asked when it is over, too
    own = json.loads((attempt(campaign, "kindsilent") / "results.json").read_text())
    assert own["error_mode"] == "stall"
    assert "goes_in_circles" in (attempt(campaign, "kindcircling") / "stacks.txt").read_text()
    campaign.wait(lambda: not campaign.processes())


BLINDS = """
import json, os, pathlib, signal, time
print("iteration 5", flush=True)
beat = pathlib.Path(os.environ["OELLM_BENCH_ENTRY_DIR"], "attempts", "1", "heartbeat.json")
while not beat.exists() or not json.loads(beat.read_text())["progress"]:
    time.sleep(0.01)
for folder in pathlib.Path("/proc").glob("[0-9]*"):
    try:
        parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        if parent == os.getppid() and b"oellm_bench" + b".observer" in (folder / "cmdline").read_bytes():
            os.kill(int(folder.name), signal.SIGKILL)
    except OSError:
        pass
time.sleep(3)
"""


def test_an_entry_that_nobody_watches_any_more_stands_not_still(campaign):
    write(campaign, BLINDS, monitoring={"progress_s": 1}, restart_policies=[])
    done = campaign.run("run")
    assert done.returncode == 0, done.stderr
    (row,) = campaign.json("results")["entries"]
    assert (row["error_mode"], row["attempts"]) == ("success", 1)
    assert "CancelAsked" not in {event["event"] for event in campaign.journal()}


def test_what_a_killed_job_used_is_in_its_result(campaign):
    kill = "import os, pathlib, signal, time; print('iteration 1', flush=True)\n"
    kill += "beat = pathlib.Path(os.environ['OELLM_BENCH_ENTRY_DIR'], 'attempts', '1', 'heartbeat.json')\n"
    kill += "while not beat.exists() or '\"iteration\": 1' not in beat.read_text(): time.sleep(0.01)\n"
    write(campaign, kill + "os.kill(os.getppid(), signal.SIGKILL)\ntime.sleep(600)", restart_policies=[])
    assert campaign.run("run").returncode == 1
    results = campaign.session_dir / "results.jsonl"
    (row,) = map(json.loads, results.read_text().splitlines())
    assert row["error_mode"] == "crash"
    assert row["resources"]["peak_rss_bytes"] > 1e6 and row["resources"]["progress"]["iteration"] == 1
