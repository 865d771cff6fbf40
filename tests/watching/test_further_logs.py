"""Logs beside stdout and stderr: of the ranks, over several attempts, with lines that say nothing."""

from __future__ import annotations

import os

import pytest

from tests.races.scripted import BEGUN

STEP = {"name": "step", "pattern": r"step (?P<n>\d+)"}


def running(watched, cluster):
    """Submit, and have the job seen running."""
    watched.submit()
    cluster.queue(watched.queue_row("RUNNING"))
    watched.look(1)
    return watched


def steps(watched):
    return [signal["values"]["n"] for event in watched.events("LogRead") for signal in event.signals]


def append(path, text, when=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as stream:
        stream.write(text)
    if when is not None:
        os.utime(path, (when, when))


def test_each_ranks_log_is_followed_whenever_it_appears(watch, cluster):
    watched = running(watch(monitoring={"logs": ["{attempt_dir}/ranks/*.log"], "log_signals": [STEP]}), cluster)
    folder = watched.files().root / "ranks"
    append(folder / "rank0.log", "step 1\nste")
    watched.look(1)
    append(folder / "rank0.log", "p 2\n")
    append(folder / "rank1.log", "step 3\n")
    watched.look(1)
    append(folder / "other.txt", "step 4\n")
    watched.look(1)
    assert steps(watched) == ["1", "2", "3"]


def test_a_ranks_log_may_be_rotated(watch, cluster):
    watched = running(watch(monitoring={"logs": ["{attempt_dir}/*.rank"], "log_signals": [STEP]}), cluster)
    log = watched.files().root / "0.rank"
    append(log, "step 1\n")
    watched.look(1)
    append(log, "step 2\n")
    log.rename(log.with_name("0.rank.1"))
    append(log, "step 3\n")
    watched.look(1)
    assert steps(watched) == ["1", "2", "3"]


def test_a_log_that_goes_on_over_attempts_is_read_once(watch, cluster):
    restart = [{"mode": "crash", "implementation": {"class_name": "AlwaysRestartPolicy", "max_retries": 1}}]
    watched = watch(
        monitoring={"logs": ["{session_entry_dir}/train.log"], "log_signals": [STEP]}, restart_policies=restart
    )
    running(watched, cluster)
    log = watched.session.layout.entry(watched.monitor.plan.entries[0].name).root / "train.log"
    append(log, "step 1\n")
    watched.look(1)
    watched.leave_record(returncode=1)
    cluster.queue(watched.queue_row("FAILED", code=256))
    watched.look(1)
    assert watched.attempt().number == 2
    cluster.queue(watched.queue_row("RUNNING"))
    append(log, "step 2\n")
    watched.look(1)
    assert steps(watched) == ["1", "2"]


def test_what_lay_there_before_the_session_is_none_of_its_output(watch, cluster, tmp_path):
    log = tmp_path / "train.log"
    append(log, "step 1\n", when=BEGUN - 10_000)
    watched = running(watch(monitoring={"logs": [str(log)], "log_signals": [STEP]}), cluster)
    watched.look(1)
    assert steps(watched) == []


def test_a_value_in_a_pattern_is_no_pattern(watch, cluster, tmp_path):
    append(tmp_path / "ab.log", "step 1\n")
    append(tmp_path / "a*.log", "step 2\n")
    watched = watch(sweep=["a*"], monitoring={"logs": [f"{tmp_path}/{{n}}.log"], "log_signals": [STEP]})
    running(watched, cluster)
    assert steps(watched) == ["2"]


@pytest.mark.parametrize(("said", "stalled"), [("keep-alive 7\n", True), ("keep-alive 7\nloss 1\n", False)])
def test_lines_to_be_ignored_are_no_sign_of_life(watch, cluster, said, stalled):
    settings = {"inactivity_s": 60.0, "ignore_output": ["^keep-alive", "(?i)^WARNING"], "log_signals": [STEP]}
    watched = running(watch(monitoring=settings), cluster)
    append(watched.files().stdout, "step 1\n")
    watched.look(1)
    for _ in range(3):
        append(watched.files().stdout, f"warning: again\n\n{said}")
        watched.look(25)
    asked = watched.events("CancelAsked")
    assert [event.by for event in asked] == (["stall"] if stalled else [])


def test_signals_are_seen_in_lines_that_are_ignored_otherwise(watch, cluster):
    watched = running(watch(monitoring={"ignore_output": ["step"], "log_signals": [STEP]}), cluster)
    append(watched.files().stdout, "step 9\n")
    watched.look(1)
    assert steps(watched) == ["9"]


@pytest.mark.parametrize(
    ("patterns", "said"), [('["("]', "is no regular expression"), ('["x*"]', "matches the empty string")]
)
def test_a_pattern_that_cannot_work_is_refused(campaign, patterns, said):
    campaign.write(backend={"class_name": "CommandBackend", "command": "true"})
    done = campaign.run("plan", "-o", f"monitoring.ignore_output={patterns}")
    assert done.returncode == 2
    assert said in done.stderr
