"""What went wrong between a backend and its command in an earlier tool goes right here."""

from __future__ import annotations

import json

HOSTILE = "a b; touch x $(touch y) 'z"


def test_a_line_may_hold_any_quote_and_any_value_of_a_variable_is_one(campaign):
    line = """printf '%s|' "it's" "${A}" "$B" >seen; ls >>seen"""
    campaign.write(
        backend={
            "class_name": "CommandBackend",
            "command": line.replace("${A}", "\\${{A}}"),  # YAML's own ${...} and the planner's braces
            "environment": {"A": HOSTILE},
            "cwd": "{session_entry_dir}",
        },
        slurm={"environment": {"B": HOSTILE}},
    )
    done = campaign.run("run")
    assert done.returncode == 0, done.stderr
    entry = campaign.session_dir / "entries" / "c"
    assert (entry / "seen").read_text().startswith(f"it's|{HOSTILE}|{HOSTILE}|")
    assert not {"x", "y"} & {path.name for path in campaign.folder.rglob("*")}


def test_what_a_backend_refuses_is_not_submitted(campaign):
    campaign.write(backend={"class_name": "TorchrunBackend", "module": "m"}, slurm={"sbatch": {"nodes": 2}})
    done = campaign.run("submit")
    assert done.returncode == 2 and "backend.distributed.launch" in done.stderr
    assert not campaign.out.exists()


def test_a_dry_run_writes_nothing_for_the_command(campaign):
    campaign.write(backend={"class_name": "TitanBackend", "sections": {"model": {"name": "llama3"}}})
    (entry,) = json.loads(campaign.run("plan", "--json").stdout)["entries"]
    assert entry["files"] == {"titan.toml": '[model]\nname = "llama3"\n'}
    assert campaign.run("submit", "--dry-run").returncode == 0
    assert not [*campaign.folder.rglob("titan.toml")]


def test_tasks_of_what_was_submitted_later_run_their_own_entries(campaign):
    campaign.write(
        backend={"class_name": "CommandBackend", "command": ["echo", "{x}"]},
        slurm={"array": True},
        sweep={"axes": {"x": [10, 11, 12, 13]}},
    )
    campaign.run("submit", "--subset", "1,3")
    assert campaign.run("run").returncode == 0
    logs = sorted(campaign.session_dir.glob("entries/*/attempts/1/stdout.log"))
    assert [log.read_text() for log in logs] == ["10\n", "11\n", "12\n", "13\n"]


def test_the_word_error_is_no_failure_and_a_log_that_nobody_reads_is_none_either(campaign):
    line = "echo 'ERROR: retrying in 5 s'; echo 'error in 0 of 9 files' >&2"
    campaign.write(
        backend={"class_name": "CommandBackend", "command": line},
        sweep={"axes": {"monitoring": ["default", "none"]}},
    )
    done = campaign.run("run")
    assert done.returncode == 0, done.stderr
    rows = campaign.json("results")["entries"]
    assert [(row["error_mode"], row["attempts"]) for row in rows] == [("success", 1)] * 2
