"""Several commands at once, and files that were damaged: nothing twice, nothing lost, one session's trouble its own."""

from __future__ import annotations

import json

import pytest

from oellm_bench.schedulers.embedded.fault import inject

QUICK = {"class_name": "CommandBackend", "command": "echo {n}"}
SLOW = {"class_name": "CommandBackend", "command": "sleep 60"}


def test_two_submits_at_once_make_one_session_and_each_job_once(campaign):
    campaign.write(backend=QUICK, sweep={"axes": {"n": [1, 2, 3]}})
    both = [campaign.start("submit"), campaign.start("submit")]
    for process in both:
        process.wait(timeout=60)
        process.stdout.close()
    assert [process.returncode for process in both] == [0, 0]
    assert len(list(campaign.out.glob("*/session.json"))) == 1
    assert len(campaign.jobs_by_token()) == 3 and set(campaign.jobs_by_token().values()) == {1}
    assert campaign.run("monitor").returncode == 0


def test_submit_after_the_end_starts_a_new_session(campaign):
    campaign.write(backend=QUICK, sweep={"axes": {"n": [1]}})
    assert campaign.run("run").returncode == 0
    assert campaign.run("run").returncode == 0
    assert len(list(campaign.out.glob("*/session.json"))) == 2


def test_an_unfinished_session_with_the_same_entries_is_not_run_beside(campaign):
    campaign.write(backend=SLOW, sweep={"axes": {"n": [1, 2]}})
    session = campaign.json("submit")["session"]
    campaign.write(backend=SLOW, sweep={"axes": {"n": [1, 2, 3]}})
    done = campaign.run("submit")
    assert done.returncode == 2
    assert session in done.stderr and "2 of these 3 entries" in done.stderr
    assert len(campaign.jobs_by_token()) == 2
    campaign.run("cancel", session)
    campaign.run("monitor", "--session", session)


@pytest.mark.parametrize("content", ["", "[]", '{"schema_version": 1}', '{"schema_version": 99}'])
def test_a_damaged_session_does_not_get_in_the_way_of_others(campaign, content):
    campaign.write(backend=QUICK, sweep={"axes": {"n": [1]}})
    assert campaign.run("run").returncode == 0
    damaged = campaign.session_dir
    (damaged / "session.json").write_text(content)
    done = campaign.run("run")
    assert done.returncode == 0, done.stderr
    assert str(damaged) in done.stderr
    assert len(campaign.json("sessions")["sessions"]) == 1


@pytest.mark.parametrize("damage", ["emptied", "removed"])
def test_a_journal_that_is_gone_is_not_taken_for_no_jobs(campaign, damage):
    campaign.write(backend=SLOW, sweep={"axes": {"n": [1, 2]}})
    session = campaign.json("submit")["session"]
    journal = campaign.out / ".oellm-bench" / "monitor" / session / "journal.jsonl"
    kept = journal.read_text()
    journal.write_text("") if damage == "emptied" else journal.unlink()
    done = campaign.run("submit")
    assert done.returncode == 2
    assert "journal" in done.stderr and "nothing is sent" in done.stderr
    assert len(campaign.jobs_by_token()) == 2
    journal.write_text(kept)
    campaign.run("cancel", session)
    campaign.run("monitor")


def test_a_torn_last_line_is_dropped_and_garbage_inside_is_refused(campaign):
    campaign.write(backend=SLOW, sweep={"axes": {"n": [1]}})
    session = campaign.json("submit")["session"]
    journal = campaign.out / ".oellm-bench" / "monitor" / session / "journal.jsonl"
    whole = journal.read_text()
    journal.write_text(whole + '{"event": "Decided", "at": 17')
    assert campaign.json("submit")["session"] == session
    journal.write_text(whole.replace("\n", "\ngarbage\n", 1))
    refused = campaign.run("monitor", "--once")
    assert refused.returncode == 2 and "garbage" in refused.stderr
    journal.write_text(whole)
    campaign.run("cancel", session)
    assert campaign.run("monitor").returncode == 1


def test_a_progress_bar_is_no_stall(campaign):
    bar = "for i in $(seq 16); do printf 'step %s' $i >&2; sleep 0.25; done"
    campaign.write(
        backend={"class_name": "CommandBackend", "command": bar}, monitoring={"inactivity_s": 2.5, "interval_s": 0.1}
    )
    assert campaign.run("run").returncode == 0


def test_a_sink_that_takes_nothing_is_named_and_seen_in_the_exit_status(campaign):
    campaign.write(backend=QUICK, sweep={"axes": {"n": [1]}})
    campaign.run("submit")
    (campaign.session_dir / "results.jsonl").mkdir()
    done = campaign.run("monitor")
    assert done.returncode == 1
    assert "sink files has not taken 1 of 1 results" in done.stderr
    assert campaign.run("results").returncode == 0


@pytest.mark.parametrize("kind", ["node_fail", "preempt", "oom"])
def test_faults_of_the_cluster_are_classified_and_restarted_by_policy(campaign, kind):
    slow_once = '[ "$OELLM_BENCH_ATTEMPT" -ge 2 ] || sleep 60'
    campaign.write(
        backend={"class_name": "CommandBackend", "command": slow_once},
        restart_policies=[{"mode": "crash", "implementation": {"class_name": "AlwaysRestartPolicy"}}],
    )
    campaign.run("submit")
    campaign.wait(lambda: campaign.json("status")["entries"][0]["state"] == "RUNNING")
    target = {"node": "node1"} if kind == "node_fail" else {"job": "1"}
    inject(campaign.out / ".oellm-bench" / "fake-slurm", kind, **target)
    assert campaign.run("monitor").returncode == 0
    modes = [event["mode"] for event in campaign.journal() if event["event"] == "Ended"]
    assert modes == [{"preempt": "preempted"}.get(kind, kind), "success"]


def test_json_documents_have_the_keys_of_the_contract(campaign):
    campaign.write(backend=QUICK, sweep={"axes": {"n": [1]}})
    submitted = campaign.json("submit")
    assert {"schema_version", "session", "session_dir", "jobs"} <= submitted.keys()
    assert {"entry", "attempt", "job_id", "token"} <= submitted["jobs"][0].keys()
    campaign.run("monitor")
    status = campaign.json("status")
    assert {"schema_version", "session", "entries", "scheduler_calls"} <= status.keys()
    wanted = {"name", "state", "attempt", "job_id", "node", "error_mode", "reason", "elapsed_s"}
    assert wanted <= status["entries"][0].keys()
    results = campaign.json("results")
    assert {"schema_version", "session", "entries"} <= results.keys()
    wanted = {"name", "success", "error_mode", "attempts", "metrics", "requirements_not_met", "exec_time_s"}
    assert wanted <= results["entries"][0].keys()
    json.dumps([submitted, status, results], allow_nan=False)
