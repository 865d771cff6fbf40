"""What the logs tell of a crash reaches the verdict, the policies and the person."""

from __future__ import annotations


def prints(line):
    return {"class_name": "CommandBackend", "command": ["sh", "-c", f"echo '{line}' >&2; exit 1"]}


def test_the_cause_of_a_crash_is_told_with_advice(campaign):
    campaign.write(backend=prints("{line}"), sweep={"axes": {"line": ["ImportError: no te", "ValueError: bad"]}})
    campaign.run("run")
    told = {row["name"]: row for row in campaign.json("status")["entries"]}
    imported, other = sorted(told.values(), key=lambda row: row["cause"], reverse=True)
    assert (imported["error_mode"], imported["cause"]) == ("import_error", "import_error")
    assert "exit code 1: ImportError: no te" in imported["reason"] and "correct the environment" in imported["advice"]
    assert (other["error_mode"], other["cause"], other["advice"]) == ("crash", "", "")


def test_policies_can_ask_for_a_cause_and_for_its_subsystem(campaign):
    selective = {"class_name": "SelectiveRestartPolicy", "restart_on_subsystems": ["storage"], "max_retries": 1}
    campaign.write(
        backend=prints("{line}"),
        sweep={"axes": {"line": ["Stale file handle", "CUDA out of memory"]}, "name_template": "{id}"},
        restart_policies=[{"mode": "crash", "implementation": selective}],
    )
    campaign.run("run")
    ended = {row["cause"]: row["restarts"] for row in campaign.json("status")["entries"]}
    assert ended == {"file_system": 1, "gpu_out_of_memory": 0}


def test_a_head_that_did_not_start_for_a_full_disk_is_a_full_disk(campaign):
    ray = campaign.folder / "ray"
    ray.write_text("#!/bin/sh\necho 'OSError: [Errno 28] No space left on device'\nexit 1\n")
    ray.chmod(0o755)
    campaign.write(
        backend=prints("never"), ray={"enabled": True, "executable": str(ray), "start_attempts": 1}, restart_policies=[]
    )
    campaign.run("run")
    (row,) = campaign.json("status")["entries"]
    assert (row["error_mode"], row["cause"]) == ("disk_full", "disk_full")
    assert "the Ray head did not start" in row["reason"]


def test_a_log_signals_own_mode_comes_first(campaign):
    signal = {"name": "mine", "pattern": "CUDA", "mode": "stall"}
    campaign.write(
        backend=prints("CUDA out of memory"), monitoring={"class_name": "SlurmLogMonitor", "log_signals": [signal]}
    )
    campaign.run("run")
    assert campaign.json("status")["entries"][0]["error_mode"] == "stall"
