"""Campaigns from submit to results: every kind of end, and what follows it."""

from __future__ import annotations

import json

import pytest

SHELL = r"""
case {kind} in
  ok) echo "loss 0.5";;
  crash) echo "ValueError: bad shape" >&2; exit 3;;
  flaky) [ "$OELLM_BENCH_ATTEMPT" -ge 2 ] || exit 7;;
  slow) sleep 1.5;;
  silent) sleep 60;;
  nan) echo "loss NaN"; exit 1;;
esac
"""


def backend(command=SHELL):
    return {"class_name": "CommandBackend", "command": command}


def always(mode, retries):
    return {"mode": mode, "implementation": {"class_name": "AlwaysRestartPolicy", "max_retries": retries}}


def rows(campaign):
    return {row["name"]: row for row in campaign.json("results")["entries"]}


def test_every_entry_passes_and_nothing_is_left_behind(campaign):
    campaign.write(backend=backend("echo {n}"), sweep={"axes": {"n": [1, 2, 3]}})
    submitted = campaign.json("submit")
    done = campaign.run("monitor")
    assert done.returncode == 0, done.stderr
    assert [job["entry"] for job in submitted["jobs"]] == ["n1", "n2", "n3"]
    assert {row["success"] for row in rows(campaign).values()} == {True}
    assert not list((campaign.out / ".oellm-bench" / "monitor").glob("state.json"))
    assert len((campaign.session_dir / "results.jsonl").read_text().splitlines()) == 3
    campaign.wait(lambda: not campaign.processes())


def test_state_json_says_what_runs_while_it_runs(campaign):
    campaign.write(backend=backend(), sweep={"axes": {"kind": ["silent"]}})
    campaign.run("submit")
    assert campaign.run("monitor", "--once").returncode == 0
    document = json.loads((campaign.out / ".oellm-bench" / "monitor" / "state.json").read_text())
    ((session, view),) = document["sessions"].items()
    assert session == campaign.session_dir.name
    assert [entry["name"] for entry in view["entries"]] == ["kindsilent"]
    assert campaign.run("cancel", session).returncode == 0
    assert campaign.run("monitor").returncode == 1
    assert not (campaign.out / ".oellm-bench" / "monitor" / "state.json").exists()


def test_policies_do_what_their_names_say(campaign):
    campaign.write(
        backend=backend(),
        sweep={"axes": {"kind": ["ok", "crash", "flaky"]}},
        restart_policies=[always("crash", 2)],
    )
    assert campaign.run("run").returncode == 1
    found = rows(campaign)
    assert found["kindok"]["attempts"] == 1
    assert found["kindflaky"] | {"success": True, "attempts": 2} == found["kindflaky"]
    assert found["kindcrash"]["attempts"] == 3  # max_retries: 2 means two restarts
    assert found["kindcrash"]["error_mode"] == "crash"
    assert "exit code 3: ValueError: bad shape" in found["kindcrash"]["reason"]


def test_no_restart_policy_stops_with_its_message(campaign):
    policy = {"class_name": "NoRestartPolicy", "message": "manual intervention required"}
    campaign.write(
        backend=backend(),
        sweep={"axes": {"kind": ["crash"]}},
        restart_policies=[{"mode": "crash", "implementation": policy}],
    )
    campaign.run("run")
    (entry,) = campaign.json("status", campaign.session_dir.name)["entries"]
    assert (entry["state"], entry["attempt"]) == ("FAILED", 1)
    assert "manual intervention required" in entry["reason"]


@pytest.mark.parametrize("limit", ["timeout_s", "walltime"])
def test_adjust_time_limit_gives_the_restart_more_time(campaign, limit):
    """Half a second is too little for `slow`; with 0.15 minutes (9 s) more it passes."""
    slurm = {"cleanup_s": 30} if limit == "timeout_s" else {"sbatch": {"time": "0:01"}}
    campaign.write(
        project={"timeout_s": 0.5 if limit == "timeout_s" else 60},
        slurm=slurm,
        backend=backend(),
        sweep={"axes": {"kind": ["slow"]}},
        restart_policies=[
            {"mode": "timeout", "implementation": {"class_name": "AdjustTimeLimitPolicy", "minutes": 0.15}}
        ],
    )
    done = campaign.run("run")
    row = rows(campaign)["kindslow"]
    assert done.returncode == 0, done.stderr
    assert row["attempts"] == 2
    ended = [event for event in campaign.journal() if event["event"] == "Ended"]
    assert [event["mode"] for event in ended] == ["timeout", "success"]


def test_selective_policy_restarts_on_a_log_signal_and_not_on_an_excluded_one(campaign):
    policy = {
        "class_name": "SelectiveRestartPolicy",
        "restart_on_error_types": ["crash"],
        "exclude_error_types": ["nan_loss"],
        "max_retries": 1,
    }
    campaign.write(
        backend=backend(),
        sweep={"axes": {"kind": ["crash", "nan"]}},
        monitoring={"log_signals": [{"name": "nan_loss", "pattern": "loss NaN", "pattern_type": "substring"}]},
        restart_policies=[{"mode": "crash", "implementation": policy}],
    )
    campaign.run("run")
    assert {name: row["attempts"] for name, row in rows(campaign).items()} == {"kindcrash": 2, "kindnan": 1}


def test_a_silent_entry_is_a_stall_not_a_timeout_or_a_cancel(campaign):
    campaign.write(
        backend=backend(),
        sweep={"axes": {"kind": ["silent"]}},
        monitoring={"inactivity_s": 0.5},
        capture={"interval_s": 0.2},
        restart_policies=[always("stall", 1)],
    )
    campaign.run("run")
    row = rows(campaign)["kindsilent"]
    assert (row["error_mode"], row["attempts"]) == ("stall", 2)


def test_a_stall_is_found_by_single_looks_too(campaign):
    """As from cron: no monitor lives long enough to see the silence from its beginning to its end."""
    campaign.write(
        backend=backend(),
        sweep={"axes": {"kind": ["silent"]}},
        monitoring={"inactivity_s": 0.5},
        capture={"interval_s": 0.2},
    )
    campaign.run("submit")
    campaign.wait(lambda: campaign.run("monitor", "--once").returncode == 1)
    assert rows(campaign)["kindsilent"]["error_mode"] == "stall"


def test_total_budget_holds_whatever_the_policies_say(campaign):
    campaign.write(
        backend=backend(),
        sweep={"axes": {"kind": ["crash"]}},
        restart={"max_restarts": 1},
        restart_policies=[always("crash", 50)],
    )
    campaign.run("run")
    assert rows(campaign)["kindcrash"]["attempts"] == 2


def test_a_users_cancel_is_never_undone(campaign):
    campaign.write(
        backend=backend(),
        sweep={"axes": {"kind": ["silent"]}},
        restart_policies=[always("crash", 3), always("cancelled", 3)],
    )
    campaign.run("submit")
    campaign.run("monitor", "--once")
    assert campaign.run("cancel", campaign.session_dir.name, "kindsilent").stdout.split() == ["kindsilent"]
    assert campaign.run("monitor").returncode == 1
    row = rows(campaign)["kindsilent"]
    assert (row["error_mode"], row["attempts"]) == ("cancelled", 1)


def test_submit_again_picks_up_what_is_in_flight_and_sends_nothing(campaign):
    campaign.write(backend=backend(), sweep={"axes": {"kind": ["silent", "ok"]}})
    first = campaign.json("submit")
    second = campaign.json("submit")
    assert second == first
    assert set(campaign.jobs_by_token().values()) == {1}
    campaign.run("cancel", first["session"])
    campaign.run("monitor")


def test_a_subset_is_submitted_and_the_rest_later(campaign):
    campaign.write(backend=backend("echo {n}"), sweep={"axes": {"n": [0, 1, 2, 3]}})
    part = campaign.json("submit", "--subset", "0,2")
    assert [job["entry"] for job in part["jobs"]] == ["n0", "n2"]
    whole = campaign.json("submit")
    assert [job["entry"] for job in whole["jobs"]] == ["n0", "n1", "n2", "n3"]
    assert set(campaign.jobs_by_token().values()) == {1}
    assert campaign.run("monitor").returncode == 0


def test_an_array_runs_each_task_and_restarts_only_the_one_that_failed(campaign):
    campaign.write(
        slurm={"array": True, "max_parallel": 2},
        backend=backend(),
        sweep={"axes": {"kind": ["ok", "flaky", "slow"]}},
        restart_policies=[always("crash", 1)],
    )
    submitted = campaign.json("submit")
    job = submitted["jobs"][0]["job_id"].split("_")[0]
    assert [row["job_id"] for row in submitted["jobs"]] == [f"{job}_0", f"{job}_1", f"{job}_2"]
    assert len({row["token"] for row in submitted["jobs"]}) == 1
    assert campaign.run("monitor").returncode == 0
    assert {name: row["attempts"] for name, row in rows(campaign).items()} == {
        "kindok": 1,
        "kindflaky": 2,
        "kindslow": 1,
    }
    assert len(list((campaign.session_dir / "scripts").iterdir())) == 1


def test_requirements_fail_an_entry_that_ran_well(campaign):
    script = campaign.folder / "bench mark.py"
    script.write_text(
        "import argparse, json, pathlib\n"
        "p = argparse.ArgumentParser(); p.add_argument('--benchmark-results-path', type=pathlib.Path)\n"
        "p.add_argument('--speed', type=float); a = p.parse_args(); out = a.benchmark_results_path\n"
        "(out / 'params.json').write_text(json.dumps({'speed': a.speed}))\n"
        "(out / 'metrics.json').write_text(json.dumps({'is_success': True, 'speed': a.speed}))\n"
        "(out / 'tasks.pkl').write_bytes(b'')\n"
    )
    campaign.write(
        backend={"class_name": "ScriptBackend", "script": str(script)},
        sweep={"axes": {"backend.args.speed": [80.0, 120.0]}},
        requirements=[{"metric": "speed", "min_value": 100}],
    )
    (campaign.folder / "c.yaml").write_text(
        (campaign.folder / "c.yaml").read_text().replace("- bench\n", "- bench\n- override /backend: script\n")
    )
    assert campaign.run("run").returncode == 1
    found = rows(campaign)
    assert found["speed120.0"]["success"] and found["speed120.0"]["metrics"]["speed"] == 120.0
    assert found["speed80.0"]["error_mode"] == "requirements_not_met"
    assert "80" in found["speed80.0"]["requirements_not_met"][0]
    assert found["speed80.0"]["attempts"] == 1


def test_an_action_gets_log_text_as_one_argument_and_runs_once(campaign):
    target = campaign.folder / "seen"
    evil = "Checkpoint saved: /ck/$(touch owned); 'x.pt"
    campaign.write(
        backend={"class_name": "CommandBackend", "command": ["printf", "%s\n", evil]},
        monitoring={
            "log_signals": [
                {
                    "name": "checkpoint_ready",
                    "pattern": r"Checkpoint saved: (?P<path>.+\.pt)",
                    "action": "convert",
                    "metadata": {"kind": "checkpoint"},
                }
            ],
            "actions": {"convert": ["sh", "-c", f'printf "%s\\n" "$1" >>"{target}"', "sh", "{checkpoint_path}"]},
        },
    )
    assert campaign.run("run").returncode == 0
    assert target.read_text().splitlines() == ["/ck/$(touch owned); 'x.pt"]
    assert not (campaign.folder / "owned").exists()


def test_a_rehearsal_says_what_would_be_done_and_does_nothing(campaign):
    log = campaign.folder / "train.out"
    log.write_text("step 1\nCheckpoint saved: /ck/a b.pt\n")
    campaign.write(
        monitoring={
            "log_signals": [
                {
                    "name": "ready",
                    "pattern": r"Checkpoint saved: (?P<path>.+\.pt)",
                    "action": "convert",
                    "metadata": {"kind": "checkpoint"},
                }
            ]
        }
    )
    done = campaign.run(
        "monitor",
        *("--log", f"train={log}", "--slurm-state", "train=NODE_FAIL"),
        *("--action", "convert=touch {checkpoint_path}", "--dry-run", "--json-output"),
    )
    document = json.loads(done.stdout)
    assert (
        document["actions"][0]
        | {
            "entry": "train",
            "signal": "ready",
            "action": "convert",
            "argv": ["touch", "/ck/a b.pt"],
        }
        == document["actions"][0]
    )
    assert document["decisions"][0]["error_mode"] == "node_fail"
    assert document["decisions"][0]["decision"] == "restart"


def test_logs_shows_every_attempt(campaign):
    campaign.write(
        backend=backend('echo "hello from attempt $OELLM_BENCH_ATTEMPT"; [ "$OELLM_BENCH_ATTEMPT" = 2 ]'),
        restart_policies=[always("crash", 1)],
    )
    campaign.run("run")
    session = campaign.session_dir.name
    both = campaign.run("logs", session, "0").stdout.splitlines()
    assert both == ["hello from attempt 1", "hello from attempt 2"]
    assert campaign.run("logs", session, "0", "--attempt", "1").stdout.splitlines() == ["hello from attempt 1"]
    assert campaign.run("logs", session, "nope").returncode == 2


def test_a_dry_run_prints_the_calls_and_writes_nothing(campaign):
    campaign.write(backend=backend("echo {n}"), sweep={"axes": {"n": [1, 2]}})
    done = campaign.run("submit", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("$ sbatch --parsable --job-name=ob-") == 2
    assert not campaign.out.exists()


@pytest.mark.parametrize("cluster", ["juwels", "lumi"])
def test_a_campaign_meant_for_a_cluster_can_be_tried_out_here(campaign, cluster):
    campaign.write(backend={"class_name": "CommandBackend", "command": "true"}, sweep={"axes": {"n": [1, 2]}})
    done = campaign.run(
        "run", "-o", f"slurm={cluster}", "-o", "slurm.array=true", "-o", "slurm.sbatch.nodes=4", "--yes"
    )
    assert done.returncode == 0, done.stderr
    assert campaign.json("plan", "-o", f"slurm={cluster}")["totals"]["gpu_hours"] > 0


def test_monitor_with_fake_takes_no_session_of_a_real_cluster(campaign):
    campaign.write(backend={"class_name": "CommandBackend", "command": "true"})
    campaign.run("submit")
    embedded = campaign.session_dir
    campaign.fake = False
    planned = campaign.run("submit", "-o", "slurm.client={class_name: SlurmClient}", "-o", "project.timeout_s=99")
    assert planned.returncode in (1, 4), planned.stderr  # there is no cluster
    campaign.fake = True
    done = campaign.run("monitor")
    assert done.returncode == 0, done.stderr
    assert str(embedded) in done.stderr
