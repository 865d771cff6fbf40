"""Entries that wait for others, for files, for commands; and entries that are called off."""

from __future__ import annotations

import contextlib

import psutil
import pytest

CHAIN = {
    "axes": [
        {"stage": "first"},
        {"stage": "second", "slurm.after": ["first"]},
        {"stage": "third", "slurm.after": ["second"]},
    ],
    "name_template": "{stage}",
}


def shell(line):
    return {"class_name": "CommandBackend", "command": line}


def restarted_after(mode):
    return [{"mode": mode, "implementation": {"class_name": "AlwaysRestartPolicy", "max_retries": 2}}]


def results(campaign):
    return {row["name"]: row for row in campaign.json("results")["entries"]}


def seen(campaign):
    path = campaign.folder / "seen"
    return path.read_text().split() if path.exists() else []


@pytest.fixture
def note(campaign):
    """A line of bash that writes the stage and the attempt down."""
    return f'echo {{stage}}$OELLM_BENCH_ATTEMPT >>"{campaign.folder}/seen"'


@pytest.mark.parametrize("array", [False, True])
def test_a_chain_runs_in_its_order(campaign, note, array):
    campaign.write(slurm={"array": array}, backend=shell(f"sleep 0.2; {note}"), sweep=CHAIN)
    submitted = campaign.json("submit")["jobs"]
    assert len(submitted) == 3  # the scheduler knows of all of them at once: no monitor is needed in between
    assert campaign.run("monitor").returncode == 0
    assert seen(campaign) == ["first1", "second1", "third1"]


def test_what_waits_for_a_failure_does_not_run(campaign, note):
    campaign.write(backend=shell(f"{note}; [ {{stage}} != first ]"), sweep=CHAIN)
    assert campaign.run("run").returncode == 1
    found = results(campaign)
    modes = {name: row["error_mode"] for name, row in found.items()}
    assert modes == {"first": "crash", "second": "dependency_failed", "third": "dependency_failed"}
    assert found["second"]["reason"] == "first, which it waits for, ended as crash"
    assert found["third"]["reason"].startswith("second, which it waits for, ")
    assert seen(campaign) == ["first1"]


def test_what_waits_for_an_entry_that_is_restarted_waits_for_the_restart(campaign, note):
    fails_once = f"{note}; [ {{stage}} != first ] || [ $OELLM_BENCH_ATTEMPT -ge 2 ]"
    campaign.write(backend=shell(fails_once), sweep=CHAIN, restart_policies=restarted_after("crash"))
    assert campaign.run("run").returncode == 0
    assert [line.rstrip("123456789") for line in seen(campaign)] == ["first", "first", "second", "third"]
    assert set(campaign.jobs_by_token().values()) == {1}


def test_afterany_asks_for_an_end_only(campaign, note):
    campaign.write(slurm={"after_type": "afterany"}, backend=shell(f"{note}; [ {{stage}} != first ]"), sweep=CHAIN)
    assert campaign.run("run").returncode == 1
    modes = {name: row["error_mode"] for name, row in results(campaign).items()}
    assert modes == {"first": "crash", "second": "success", "third": "success"}


def test_a_subset_does_not_wait_for_what_is_not_in_it(campaign, note):
    campaign.write(backend=shell(note), sweep=CHAIN)
    campaign.run("submit", "--subset", "1")
    assert campaign.run("monitor").returncode == 0
    assert seen(campaign) == ["second1"]


def test_a_cancelled_entry_takes_along_what_waits_for_it(campaign):
    campaign.write(backend=shell("sleep 60"), sweep=CHAIN)
    campaign.run("submit")
    session = campaign.session_dir.name
    assert campaign.run("cancel", session, "first").returncode == 0
    assert campaign.run("monitor").returncode == 1
    modes = {name: row["error_mode"] for name, row in results(campaign).items()}
    assert modes == {"first": "cancelled", "second": "dependency_failed", "third": "dependency_failed"}


def test_a_dry_run_shows_who_waits_for_whom(campaign):
    campaign.write(backend=shell("true"), sweep=CHAIN)
    calls = [line for line in campaign.run("submit", "--dry-run").stdout.splitlines() if line.startswith("$ ")]
    assert ["--dependency" in line for line in calls] == [False, True, True]
    assert "afterok:<job of first>" in calls[1]


def test_an_entry_starts_once_a_file_is_there(campaign):
    flag = campaign.folder / "flag {n}"
    conditions = [{"class_name": "FileExistsCondition", "path": str(flag)}]
    campaign.write(backend=shell("true"), sweep={"axes": {"n": [0, 1]}}, monitoring={"start_conditions": conditions})
    (campaign.folder / "flag 0").touch()
    done = campaign.run("submit")
    assert done.returncode == 0 and "1 entries wait for their start conditions" in done.stderr
    rows = {row["name"]: row for row in campaign.json("status")["entries"]}
    assert rows["n1"]["state"] == "WAITING" and "No such file" in rows["n1"]["reason"]
    monitor = campaign.start("monitor")
    campaign.wait(lambda: results(campaign)["n0"]["success"])
    assert campaign.json("status")["entries"][1]["attempt"] == 0
    (campaign.folder / "flag 1").touch()
    assert monitor.wait(timeout=60) == 0
    monitor.stdout.close()
    assert all(row["success"] for row in results(campaign).values())


def test_a_start_condition_that_can_never_hold_ends_the_entry(campaign):
    condition = {"class_name": "EntryStateCondition", "entry": "first", "state": "succeeded"}
    campaign.write(
        backend=shell("[ {stage} != first ]"),
        sweep={
            "axes": [{"stage": "first"}, {"stage": "second", "monitoring.start_conditions": [[condition]]}],
            "name_template": "{stage}",
        },
    )
    assert campaign.run("run").returncode == 1
    found = results(campaign)
    assert found["second"]["error_mode"] == "dependency_failed" and found["second"]["attempts"] == 0
    assert "first: failed" in found["second"]["reason"]


@pytest.mark.parametrize("verb", ["submit", "monitor --once"])
def test_a_command_is_asked_to_its_end_by_verbs_that_look_once(campaign, verb):
    flag = campaign.folder / "flag"
    command = {
        "class_name": "CommandCondition",
        "command": ["sh", "-c", f'sleep 0.3; test -e "{flag}"'],
        "every_s": 0.1,
    }
    campaign.write(backend=shell("true"), monitoring={"start_conditions": [command]})
    if verb != "submit":
        campaign.run("submit")
    flag.touch()
    campaign.run(*verb.split())
    assert campaign.json("status")["entries"][0]["attempt"] == 1


def test_what_has_no_conditions_is_sent_before_those_of_others_have_answered(campaign, note):
    waiting = {
        "class_name": "CommandCondition",
        "command": ["sh", "-c", f'until test -e "{campaign.folder}/seen"; do sleep 0.05; done'],
        "timeout_s": 30,
    }
    campaign.write(
        backend=shell(note),
        sweep={
            "axes": [{"stage": "first"}, {"stage": "second", "monitoring.start_conditions": [[waiting]]}],
            "name_template": "{stage}",
        },
    )
    jobs = {job["entry"]: job["job_id"] for job in campaign.json("submit")["jobs"]}
    assert set(jobs) == {"first", "second"} and all(jobs.values())


def test_a_cancel_condition_ends_what_runs_and_what_waits_for_good(campaign):
    flag = campaign.folder / "stop"
    conditions = [{"class_name": "FileExistsCondition", "path": str(flag)}]
    campaign.write(
        slurm={"max_submit": 1},
        backend=shell(f'touch "{flag}"; sleep 60'),
        sweep={"axes": {"n": [0, 1]}},
        monitoring={"cancel_conditions": conditions},
        restart_policies=restarted_after("crash"),
    )
    assert campaign.run("run").returncode == 1
    found = results(campaign)
    assert [row["error_mode"] for row in found.values()] == ["cancelled", "cancelled"]
    assert all("cancel condition: " in row["reason"] for row in found.values())
    assert [row["attempts"] for row in found.values()] == [1, 0]


def test_a_job_outside_that_fails_is_not_waited_for_again_and_again(campaign):
    campaign.write(project={"name": "outside"}, backend=shell("false"))
    (job,) = campaign.json("submit")["jobs"]
    campaign.run("monitor")
    campaign.write(slurm={"sbatch": {"dependency": f"afterok:{job['job_id']}"}}, backend=shell("true"), sweep=CHAIN)
    session = campaign.json("submit")["session"]
    assert campaign.run("monitor").returncode == 1
    rows = campaign.json("results", session)["entries"]
    assert [(row["error_mode"], row["attempts"]) for row in rows] == [("dependency_failed", n) for n in (1, 1, 1)]


def test_a_check_that_is_still_running_cancels_nothing(campaign):
    healthy = {"class_name": "CommandCondition", "command": "sleep 0.5; true"}
    campaign.write(
        backend=shell("true"),
        monitoring={"cancel_conditions": [{"class_name": "NotCondition", "condition": healthy}]},
    )
    assert campaign.run("run").returncode == 0


def test_a_command_that_does_not_matter_any_more_holds_nobody_up(campaign):
    flag = campaign.folder / "flag"
    either = [
        {"class_name": "CommandCondition", "command": ["sleep", "600"]},
        {"class_name": "FileExistsCondition", "path": str(flag)},
    ]
    campaign.write(
        backend=shell("true"), monitoring={"start_conditions": [{"class_name": "OrCondition", "conditions": either}]}
    )
    submit = campaign.start("submit")
    campaign.wait(lambda: any("sleep 600" in line for line in all_commands()))
    flag.touch()
    assert submit.wait(timeout=60) == 0
    submit.communicate()
    assert campaign.run("monitor").returncode == 0


def all_commands():
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            found.append(" ".join(process.cmdline()))
    return found


@pytest.mark.parametrize(
    "conditions",
    [
        [
            {"class_name": "FileExistsCondition", "path": "nowhere"},
            {"class_name": "EntryStateCondition", "entry": "first"},
        ],
        [
            {"class_name": "EntryStateCondition", "entry": "first", "state": "over"},
            {
                "class_name": "NotCondition",
                "condition": {"class_name": "EntryStateCondition", "entry": "first", "state": "failed"},
            },
        ],
    ],
)
def test_what_can_never_start_any_more_does_not_keep_the_session_open(campaign, conditions):
    campaign.write(
        backend=shell("[ {stage} != first ]"),
        sweep={
            "axes": [{"stage": "first"}, {"stage": "second", "monitoring.start_conditions": [conditions]}],
            "name_template": "{stage}",
        },
    )
    assert campaign.run("run").returncode == 1
    assert results(campaign)["second"]["error_mode"] == "dependency_failed"


def test_the_same_submit_again_warns_of_nothing_and_a_changed_order_is_another_plan(campaign):
    campaign.write(backend=shell("sleep 60"), sweep=CHAIN)
    first = campaign.json("submit")["session"]
    again = campaign.run("submit")
    assert first in again.stdout and "keeps the monitoring" not in again.stderr
    campaign.write(backend=shell("sleep 60"), sweep=CHAIN, slurm={"after_type": "afterany"})
    assert "is unfinished and runs 3 of these 3 entries already" in campaign.run("submit").stderr
    campaign.run("cancel", first)


def test_a_submit_of_what_was_cancelled_says_how_to_go_on(campaign):
    campaign.write(backend=shell("sleep 60"))
    session = campaign.json("submit")["session"]
    campaign.run("cancel", session)
    assert "monitor --session" in campaign.run("submit").stderr
    assert campaign.run("monitor").returncode == 1
    begun = campaign.run("submit")
    assert "is finished; this one begins anew" in begun.stderr
    newest = campaign.json("sessions")["sessions"][0]
    campaign.run("cancel", newest.get("session") or newest["id"])


def test_a_dry_run_as_json_has_the_very_calls(campaign):
    campaign.write(backend=shell("true"), sweep=CHAIN)
    document = campaign.json("submit", "--dry-run")
    assert [call[0] for call in document["calls"]] == ["sbatch"] * 3 and len(document["scripts"]) == 3


def test_plan_check_names_the_datasets_and_folders_that_are_not_there(campaign):
    campaign.write(
        backend={"class_name": "CommandBackend", "command": ["cat", "{dataset:d,raw}"], "cwd": "/no/such/folder"},
        datasets={"d": {"raw": "/no/such/data", "remote": "s3://bucket/data"}},
    )
    done = campaign.run("plan", "--fake", "--check")
    assert done.returncode == 2
    assert "datasets.d.raw: '/no/such/data' is not there" in done.stderr
    assert "backend.cwd: '/no/such/folder' is not there" in done.stderr and "s3://" not in done.stderr
