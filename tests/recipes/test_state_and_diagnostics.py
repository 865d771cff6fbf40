"""State persistence and diagnostics, as the older tool's users know them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml

WAITING = 'echo "Checkpoint saved: {n}.pt"; until [ -e go ]; do sleep 0.05; done; exit {n}'


@pytest.fixture
def waiting(checkout):
    """A campaign whose two entries run until a file `go` is there; one of them fails."""
    campaign = {
        "defaults": ["bench", "_self_"],
        "backend": {"class_name": "CommandBackend", "command": WAITING},
        "sweep": {"axes": {"n": [0, 1]}},
        "monitoring": {
            "log_signals": [{"name": "saved", "pattern": "saved: (?P<path>.+)", "action": "note"}],
            "actions": {"note": "touch noted"},
        },
        "restart_policies": [
            {"mode": "crash", "implementation": {"class_name": "AlwaysRestartPolicy", "max_retries": 1}}
        ],
    }
    (checkout.folder / "config" / "waiting.yaml").write_text(yaml.safe_dump(campaign))
    return checkout


@pytest.mark.parametrize(
    ("given", "folder"),
    [("", "outputs/.oellm-bench"), (" -o project.state_dir=state", "state")],
    ids=["default", "own"],
)
def test_state_is_kept_while_jobs_are_in_flight_and_removed_with_the_last(waiting, given, folder):
    state = waiting.folder / folder / "monitor" / "state.json"
    verb = "oellm-bench {} waiting -C config --fake" + given
    submitted = waiting.json(f"{verb.format('submit')} --json")
    ((session, view),) = json.loads(state.read_text())["sessions"].items()
    assert session == submitted["session"]
    assert [(row["name"], row["job_id"]) for row in view["entries"]] == [("n0", "1"), ("n1", "2")]
    assert waiting.json(f"{verb.format('submit')} --json") == submitted  # picked up, nothing is sent again
    waiting.run(f"{verb.format('monitor')} --once")
    again = waiting.json(f"{verb.format('submit')} --json")["jobs"]
    assert [(job["job_id"], job["token"]) for job in again] == [
        (job["job_id"], job["token"]) for job in submitted["jobs"]
    ]
    (waiting.folder / "go").touch()
    waiting.run(verb.format("monitor"), code=1)
    assert not state.exists()
    assert {name: row["attempts"] for name, row in waiting.results(waiting.session()).items()} == {"n0": 1, "n1": 2}


def test_run_autoexp_dry_run_renders_an_array_and_starts_nothing(checkout):
    done = checkout.run("python scripts/run_autoexp.py autoexp -C config -o slurm.array=true --dry-run")
    assert "nothing was submitted" in done.stderr
    session = checkout.session()
    assert {path.name for path in session.iterdir()} == {
        *("config.yaml", "session.json", "sweep.json"),
        *("scripts", "entries", "slurm"),
    }
    assert [path.name for path in (session / "scripts").iterdir()] == ["array_000.sbatch"]
    assert not (checkout.folder / "outputs" / ".oellm-bench").exists() and not checkout.processes()


def tree(folder: Path) -> dict[str, tuple[int, str]]:
    """Return what is in a folder, and of each file its time and content."""
    return {
        str(path.relative_to(folder)): (
            (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).hexdigest()) if path.is_file() else (0, "")
        )
        for path in folder.rglob("*")
    }


def test_monitor_dry_run_shows_what_is_due_and_changes_nothing(waiting):
    waiting.run("oellm-bench submit waiting -C config --fake")
    (waiting.folder / "go").touch()
    waiting.wait(lambda: not waiting.processes())
    before = tree(waiting.folder)
    document = waiting.json("oellm-bench monitor waiting -C config --fake --dry-run --json-output")
    assert tree(waiting.folder) == before
    assert [(row["entry"], row["action"], row["argv"]) for row in document["actions"]] == [
        ("n0", "note", ["touch", "noted"]),
        ("n1", "note", ["touch", "noted"]),
    ]
    assert [(row["entry"], row["error_mode"], row["decision"]) for row in document["decisions"]] == [
        ("n0", "success", "stop"),
        ("n1", "crash", "restart"),
    ]
    waiting.run("oellm-bench monitor waiting -C config --fake", code=1)
    assert (waiting.folder / "noted").exists()


def test_monitor_dry_run_of_a_log_runs_no_action_and_changes_nothing(waiting):
    (waiting.folder / "train.out").write_text("Checkpoint saved: 7.pt\n")
    before = tree(waiting.folder)
    document = waiting.json(
        "oellm-bench monitor waiting -C config --log train=train.out --slurm-state train=FAILED --dry-run --json-output"
    )
    assert tree(waiting.folder) == before
    assert [(row["entry"], row["argv"]) for row in document["actions"]] == [("train", ["touch", "noted"])]
    assert [(row["entry"], row["decision"]) for row in document["decisions"]] == [("train", "restart")]
