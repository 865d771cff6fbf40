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
