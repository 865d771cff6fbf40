"""Races 6 to 8: logs that are cut, replaced, half-written or not there yet."""

from __future__ import annotations

import errno
import os
import shutil

import pytest

from oellm_bench.assemble import open_scheduler
from oellm_bench.core.job import JobId
from oellm_bench.monitoring.log_tail import MAX_BYTES
from oellm_bench.session import read_session

SIGNALS = {"log_signals": [{"name": "step", "pattern": r"step (?P<number>\d+)"}]}


@pytest.fixture
def running(watch, cluster):
    """A running entry whose log is searched for lines like `step 3`."""
    watched = watch(monitoring=SIGNALS)
    watched.submit()
    cluster.queue(watched.queue_row("RUNNING"))
    watched.look()
    return watched


def steps(watched):
    """Return the numbers of the steps that were seen, in their order, each time that they were seen."""
    found = [signal for event in watched.events("LogRead") for signal in event.signals]
    return [int(signal["values"]["number"]) for signal in found]


def append(watched, data, attempt=1):
    with watched.files(0, attempt).stdout.open("ab") as stream:
        stream.write(data)


def ends(watched, cluster):
    """Have the job end well, and look until that is known."""
    watched.leave_record(restarts=watched.attempt().restarts)
    cluster.queue(watched.queue_row("COMPLETED", restarts=watched.attempt().restarts))
    watched.look(1)


def test_race_06_a_requeue_that_cuts_the_log_is_read_from_its_beginning(running, cluster):
    append(running, b"step 1\nstep 2\nstep 3\n")
    running.look(1)
    log = running.files().stdout
    inode = log.stat().st_ino
    log.write_bytes(b"step 1\n")
    assert log.stat().st_ino == inode
    cluster.queue(running.queue_row("RUNNING", restarts=1, started_s=100))
    running.look(1)
    append(running, b"step 2\n")
    running.look(1)
    assert steps(running) == [1, 2, 3, 1, 2]


def test_race_06_a_log_that_is_longer_again_before_anybody_looked_is_known_by_its_first_bytes(running):
    append(running, b"run 1\nstep 1\n")
    running.look(1)
    running.files().stdout.write_bytes(b"run 2\nstep 1\nstep 2\n")
    running.look(1)
    assert steps(running) == [1, 1, 2]


def test_race_06_a_requeued_job_of_this_tool_keeps_what_it_wrote_before(campaign):
    campaign.write(
        backend={"class_name": "CommandBackend", "command": 'echo "step $((SLURM_RESTART_COUNT))"; sleep 300'},
        slurm={"sbatch": {"requeue": True}},
        monitoring=SIGNALS,
    )
    name = campaign.json("submit")["session"]
    session = read_session(campaign.session_dir)
    log = session.layout.entry("c").attempt(1).stdout
    campaign.wait(lambda: log.exists() and "step 0\n" in log.read_text())
    open_scheduler(session).requeue(JobId(1))
    campaign.wait(lambda: "step 1\n" in log.read_text())
    campaign.run("cancel", name)
    campaign.run("monitor")
    assert log.read_text().splitlines() == ["step 0", "step 1"]
    (scheduler_log,) = log.parent.glob("slurm-*.out")
    assert scheduler_log.read_text().count("entry=c attempt=1 logs=") == 2
    assert [signal["line"] for e in campaign.journal() for signal in e.get("signals", ())] == ["step 0", "step 1"]


def test_race_07_a_log_that_is_replaced_by_another_file_is_read_from_its_beginning(running):
    append(running, b"step 1\n")
    running.look(1)
    log = running.files().stdout
    fresh = log.with_name("fresh")
    fresh.write_bytes(b"step 9\n")
    fresh.replace(log)
    running.look(1)
    assert steps(running) == [1, 9]


def test_race_07_what_was_written_before_a_rotation_is_read_before_the_new_log(running):
    append(running, b"step 1\n")
    running.look(1)
    append(running, b"step 2\n")
    log = running.files().stdout
    log.rename(log.with_name("stdout.log.1"))
    log.write_bytes(b"step 3\n")
    running.look(1)
    append(running, b"step 4\n")
    running.look(1)
    assert steps(running) == [1, 2, 3, 4]


def test_race_07_what_was_written_before_a_log_was_copied_and_emptied_is_read_from_the_copy(running):
    append(running, b"step 1\n")
    running.look(1)
    append(running, b"step 2\n")
    log = running.files().stdout
    shutil.copy2(log, log.with_name("stdout.log.1"))
    log.write_bytes(b"step 3\n")
    running.look(1)
    assert steps(running) == [1, 2, 3]


def test_race_07_a_log_that_cannot_be_reached_for_a_while_goes_on_where_it_was(running):
    append(running, b"step 1\n")
    running.look(1)
    log = running.files().stdout
    aside = log.rename(log.with_name("aside"))
    log.symlink_to(log)  # not even root can open that
    running.look(1)
    log.unlink()
    aside.rename(log)
    append(running, b"step 2\n")
    running.look(1)
    assert steps(running) == [1, 2]


def test_race_07_a_stale_handle_of_a_file_server_is_asked_for_again(running, monkeypatch):
    """Only an NFS mount gives one; the error itself stands in for it."""
    append(running, b"step 1\n")
    running.look(1)
    append(running, b"step 2\n")
    stat, stale = os.stat, [str(running.files().stdout)]

    def once_stale(path, **options):
        if str(path) in stale:
            stale.remove(str(path))
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
        return stat(path, **options)

    monkeypatch.setattr(os, "stat", once_stale)
    running.look(1)
    assert (steps(running), stale) == ([1, 2], [])


def test_race_07_half_a_line_is_read_once_it_is_whole(running):
    append(running, b"step 1\nstep 1")
    running.look(1)
    append(running, b"2\nste")
    running.look(1)
    running.look(1)
    append(running, b"p 3\n")
    running.look(1)
    assert steps(running) == [1, 12, 3]


def test_race_07_a_letter_of_several_bytes_that_is_cut_in_two_stays_one(watch, cluster):
    watched = watch(monitoring={"log_signals": [{"name": "note", "pattern": "^größe=(?P<size>.+)$"}]})
    watched.submit()
    cluster.queue(watched.queue_row("RUNNING"))
    whole = "größe=zwölf\n".encode()
    cut = whole.index("ö".encode()) + 1
    for piece in (whole[:cut], whole[cut:]):
        append(watched, piece)
        watched.look(1)
    (event,) = watched.events("LogRead")
    assert [signal["values"]["size"] for signal in event.signals] == ["zwölf"]


def test_race_07_a_hole_of_zeros_hides_neither_what_is_before_nor_what_comes_after(running):
    """A log that was cut while its writer kept its place has a hole; NFS shows one while data are on their way."""
    append(running, b"step 1\n")
    running.look(1)
    with running.files().stdout.open("r+b") as stream:
        stream.seek(1 << 20)
        stream.write(b"\nstep 2\n")
    running.look(1)
    assert steps(running) == [1, 2]


def test_race_07_the_last_line_of_an_ended_job_needs_no_newline(running, cluster):
    append(running, b"step 1\nstep 2")
    running.look(1)
    assert steps(running) == [1]
    ends(running, cluster)
    assert steps(running) == [1, 2]


def test_race_07_a_chatty_log_is_read_to_its_end_before_the_job_is_judged(running, cluster):
    append(running, (b"x" * 4095 + b"\n") * (2 * MAX_BYTES // 4096) + b"step 1\n")
    running.look(1)
    assert running.attempt().cursors["stdout"]["offset"] == MAX_BYTES
    ends(running, cluster)
    assert steps(running) == [1]


def test_race_07_the_last_lines_are_read_though_the_file_server_still_shows_the_old_size(running, cluster, monkeypatch):
    """NFS clients keep what stat says for up to a minute; only who opens a file is told of its true size."""
    append(running, b"step 1\n")
    running.look(1)
    stat, log = os.stat, str(running.files().stdout)
    kept = stat(log)
    append(running, b"step 2\n")
    monkeypatch.setattr(os, "stat", lambda path, **options: kept if str(path) == log else stat(path, **options))
    ends(running, cluster)
    assert (running.modes(), steps(running)) == (["success"], [1, 2])


def test_race_08_a_running_job_without_a_log_has_its_own_clock(watch, cluster):
    watched = watch(monitoring={"inactivity_s": 60.0, "startup_s": 600.0})
    watched.submit()
    cluster.queue(watched.queue_row("RUNNING"))
    watched.look()
    watched.look(590)
    assert watched.events("CancelAsked") == []
    watched.look(20)
    (asked,) = watched.events("CancelAsked")
    assert asked.by == "stall" and "no output for" in asked.reason


def test_race_08_with_its_first_output_the_clock_of_a_job_is_the_shorter_one(watch, cluster):
    watched = watch(monitoring={"inactivity_s": 60.0, "startup_s": 600.0})
    watched.submit()
    cluster.queue(watched.queue_row("RUNNING"))
    watched.look()
    watched.look(500)
    append(watched, b"up\n")
    watched.look(10)
    watched.look(55)
    assert watched.events("CancelAsked") == []
    watched.look(10)
    assert [event.by for event in watched.events("CancelAsked")] == ["stall"]


def test_race_08_the_time_in_the_queue_is_no_silence(watch, cluster):
    watched = watch(monitoring={"inactivity_s": 60.0})
    watched.submit()
    cluster.queue(watched.queue_row("PENDING"))
    watched.look(10_000)
    cluster.queue(watched.queue_row("RUNNING", started_s=10_020))
    watched.look(30)
    assert watched.events("CancelAsked") == []
