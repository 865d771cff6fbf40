"""The scripts kept for people who know the older tools."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def script(campaign):
    campaign.write(
        backend={"class_name": "CommandBackend", "command": ["echo", "n is {n}"]}, sweep={"axes": {"n": [1, 2]}}
    )

    def run(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, str(SCRIPTS / name), *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd=campaign.folder, check=False)

    return run


def test_run_autoexp_submits_and_watches(campaign, script):
    done = script("run_autoexp.py", "c", "-C", str(campaign.folder), "--use-fake-slurm")
    assert done.returncode == 0, done.stderr
    assert "2 of 2 passed" in done.stderr


def test_run_autoexp_dry_run_renders_and_submits_nothing(campaign, script):
    done = script("run_autoexp.py", "c", "-C", str(campaign.folder), "-o", "slurm.array=true", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert (campaign.session_dir / "sweep.json").is_file()
    assert [path.name for path in (campaign.session_dir / "scripts").iterdir()] == ["array_000.sbatch"]
    assert campaign.run("status", campaign.session_dir.name).stdout.count("PLANNED") == 2


def test_run_sweep_entry_shows_and_runs_one_entry(campaign, script):
    campaign.run("plan")
    sweep = str(campaign.session_dir / "sweep.json")
    shown = script("run_sweep_entry.py", "--sweep", sweep, "--index", "1", "--dry-run")
    assert shown.returncode == 0 and "n is 2" in shown.stdout
    assert not list(campaign.session_dir.glob("entries/*/attempts"))
    assert script("run_sweep_entry.py", "--sweep", sweep, "--index", "1").returncode == 0
    (log,) = campaign.session_dir.glob("entries/*/attempts/1/stdout.log")
    assert (log.parents[2].name, log.read_text()) == ("n2", "n is 2\n")
    assert script("run_sweep_entry.py", "--sweep", sweep, "--index", "7").returncode == 2


def test_a_run_by_hand_changes_no_recorded_result(campaign, script):
    campaign.run("run")
    before = campaign.json("results")
    sweep = str(campaign.session_dir / "sweep.json")
    assert script("run_sweep_entry.py", "--sweep", sweep, "--index", "0").returncode == 0
    assert campaign.json("results") == before


def test_modules_of_the_users_own_do_not_stand_in_for_pythons(campaign, script):
    for name in ("signal", "psutil", "json"):
        (campaign.folder / f"{name}.py").write_text("raise SystemExit('not the one you want')\n")
    done = script("run_autoexp.py", "c", "-C", str(campaign.folder), "--use-fake-slurm")
    assert done.returncode == 0, done.stderr
    assert all((entry / "artifacts" / "sys-env.json").exists() for entry in campaign.session_dir.glob("entries/*"))
