"""Races 21 to 23 and 30: two monitors, one that slept, clocks that disagree, a disk that is full."""

from __future__ import annotations

import json
import os
import resource
import shlex
import signal
from contextlib import contextmanager

import psutil
import pytest

from oellm_bench.core.events import Retried
from oellm_bench.errors import AlreadyWatched, StateError
from oellm_bench.state.lease import Lease
from tests.races.scripted import BEGUN

STALLS = {"inactivity_s": 60.0, "missing_grace_s": 120.0}
RESTARTS = [{"mode": "crash", "implementation": {"class_name": "AlwaysRestartPolicy"}}]
SKEW_S = 290.0  # less than the five minutes that are allowed for


def running(watched, cluster, **row):
    watched.submit()
    cluster.queue(watched.queue_row("RUNNING", **row))
    watched.look()
    return watched


def under_lease(watched):
    """Return the lease of this session's monitor, which guards its journal as `oellm-bench monitor` has it."""
    lease = Lease(watched.session.state_layout.lease(watched.session.id), watched.clock, length_s=180)
    lease.acquire()
    watched.monitor.store.guard = lease.renew
    return lease


def move_elsewhere(watched):
    """Rewrite the lease as a monitor on another machine would have written it."""
    path = watched.session.state_layout.lease(watched.session.id)
    path.write_text(json.dumps({**json.loads(path.read_text()), "host": "another", "boot_id": "another"}))


def test_race_21_a_second_monitor_is_refused_with_the_name_of_the_first(campaign):
    campaign.write(backend={"class_name": "CommandBackend", "command": "sleep 300"})
    campaign.run("submit")
    first = campaign.start("monitor")
    try:
        campaign.wait(lambda: campaign.watcher() == first.pid)
        second = campaign.run("monitor")
        assert second.returncode == 2
        assert f"process {first.pid}" in second.stderr
    finally:
        campaign.run("cancel", campaign.session_dir.name)
        first.wait(timeout=60)
        first.stdout.close()


def test_race_21_a_killed_monitor_is_followed_at_once_by_the_next(campaign):
    campaign.write(backend={"class_name": "CommandBackend", "command": "sleep 2"})
    campaign.run("submit")
    first = campaign.start("monitor")
    campaign.wait(lambda: campaign.watcher() == first.pid)
    first.kill()
    first.communicate()
    assert campaign.run("monitor").returncode == 0
    assert [event["event"] for event in campaign.journal()].count("SessionFinished") == 1


def test_race_21_a_monitor_elsewhere_is_believed_until_its_lease_has_run_out(watch, cluster):
    watched = watch()
    under_lease(watched)
    move_elsewhere(watched)
    path, clock = watched.session.state_layout.lease(watched.session.id), watched.clock
    clock.sleep(179)
    with pytest.raises(AlreadyWatched, match="on another"):
        Lease(path, clock, length_s=180).acquire()
    clock.sleep(2)
    Lease(path, clock, length_s=180).acquire()


def test_race_21_a_monitor_that_was_taken_over_from_does_nothing_any_more(watch, cluster):
    """Stopped for longer than its lease, it wakes up beside its successor: a number, not a lock, keeps it out."""
    watched = running(watch(monitoring=STALLS, restart_policies=RESTARTS, restart={"backoff_s": 0}), cluster)
    under_lease(watched)
    move_elsewhere(watched)
    watched.clock.sleep(200)
    following = Lease(watched.session.state_layout.lease(watched.session.id), watched.clock, length_s=180)
    following.acquire()
    watched.leave_record(returncode=1)
    cluster.queue(watched.queue_row("FAILED", code=1 << 8))
    journal = watched.session.state_layout.journal(watched.session.id).read_bytes()
    with pytest.raises(StateError, match="taken this session over"):
        watched.look()
    assert watched.session.state_layout.journal(watched.session.id).read_bytes() == journal
    assert (len(cluster.calls("sbatch")), cluster.calls("scancel")) == (1, [])
    following.renew()


def test_race_21_monitors_that_meet_at_the_end_leave_one_whole_journal(campaign):
    campaign.write(backend={"class_name": "CommandBackend", "command": "true"}, sweep={"axes": {"n": [1, 2]}})
    campaign.run("submit")
    several = [campaign.start("monitor") for _ in range(3)]
    for process in several:
        process.wait(timeout=60)
        process.stdout.close()
    assert campaign.run("monitor").returncode == 0
    assert campaign.journal()[0]["event"] == "Selected"
    assert [event["event"] for event in campaign.journal()].count("SessionFinished") == 1
    assert set(campaign.jobs_by_token().values()) == {1}


def test_race_21_what_is_asked_for_while_a_monitor_ends_the_session_is_not_forgotten(watch, cluster):
    watched = running(watch(), cluster)
    watched.leave_record(returncode=1)
    cluster.queue(watched.queue_row("FAILED", code=1 << 8))
    may_end = watched.monitor.delivery.may_end

    def asked_just_then(*arguments):
        answer = may_end(*arguments)
        with watched.monitor.store.locked():
            watched.monitor.store.append(Retried(at=watched.clock.now(), entries=(watched.entry().id,)))
        return answer

    watched.monitor.delivery.may_end = asked_just_then
    assert not watched.look(1).finished
    assert (watched.entry().restart_due, watched.events("SessionFinished")) == (True, [])
    watched.look(1)
    assert len(cluster.calls("sbatch")) == 2


def test_race_22_after_a_long_sleep_one_look_changes_nothing_and_the_next_one_acts(watch, cluster):
    watched = watch(monitoring=STALLS, restart_policies=RESTARTS, restart={"backoff_s": 0}, sweep=[0, 1])
    running(watched, cluster)
    watched.monitor.pace_s = 30.0
    cluster.queue(watched.queue_row("FAILED", code=1 << 8), watched.queue_row("RUNNING", 1))
    watched.leave_record(returncode=1)
    watched.look(3600)
    assert (len(cluster.calls("sbatch")), cluster.calls("scancel"), watched.modes()) == (2, [], [])
    assert watched.attempt().state.value == "FAILED"
    watched.look(30)
    assert (watched.modes(), len(cluster.calls("sbatch"))) == (["crash"], 3)
    assert cluster.calls("scancel") == []  # nobody saw whether the other one was silent


def test_race_22_a_pause_of_a_few_looks_is_none(watch, cluster):
    watched = running(watch(restart_policies=RESTARTS, restart={"backoff_s": 0}), cluster)
    watched.monitor.pace_s = 30.0
    cluster.queue(watched.queue_row("FAILED", code=1 << 8))
    watched.leave_record(returncode=1)
    watched.look(80)
    assert len(cluster.calls("sbatch")) == 2


def test_race_22_a_monitor_that_was_stopped_while_a_job_ended_goes_on(campaign):
    go_on = campaign.folder / "go on"
    command = f"until [ -e {shlex.quote(str(go_on))} ]; do sleep 0.1; done"
    campaign.write(backend={"class_name": "CommandBackend", "command": command})
    campaign.run("submit")
    monitor = campaign.start("monitor")
    # It has seen the job run, and only waits: stopped with a lock in its hands it would stop everybody.
    journal = campaign.out / ".oellm-bench" / "monitor" / campaign.session_dir.name / "journal.jsonl"
    campaign.wait(lambda: '"RUNNING"' in journal.read_text())
    campaign.wait(lambda: psutil.Process(monitor.pid).status() == psutil.STATUS_SLEEPING)
    monitor.send_signal(signal.SIGSTOP)
    go_on.touch()
    exit_file = campaign.session_dir / "entries" / "c" / "attempts" / "1" / "exit.json"
    campaign.wait(exit_file.exists)
    assert campaign.run("monitor").returncode == 2  # stopped is not dead: nobody takes over
    monitor.send_signal(signal.SIGCONT)
    said, _ = monitor.communicate(timeout=60)
    assert monitor.returncode == 0, said


@pytest.mark.parametrize("skew_s", [-SKEW_S, SKEW_S], ids=["behind", "ahead"])
def test_race_23_a_controller_whose_clock_disagrees_makes_no_stall_and_loses_no_job(watch, cluster, skew_s):
    watched = running(watch(monitoring=STALLS), cluster, started_s=skew_s)
    watched.look(50)
    assert (watched.attempt().job_id, cluster.calls("scancel")) == ("101", [])
    cluster.queue(watched.queue_row("COMPLETED", started_s=skew_s))
    watched.leave_record(started_at=watched.clock.now() + 2 * skew_s, ended_at=watched.clock.now() + 2 * skew_s)
    watched.look(5)
    assert watched.modes() == ["success"]


@pytest.mark.parametrize("age_s", [-86_400, 86_400], ids=["tomorrow", "yesterday"])
def test_race_23_what_a_file_server_dates_its_files_to_is_never_asked_for(watch, cluster, age_s):
    watched = running(watch(monitoring=STALLS), cluster)
    log = watched.files().stdout
    dated = watched.clock.now() - age_s
    for number in range(5):
        with log.open("a") as stream:
            stream.write(f"step {number}\n")
        os.utime(log, (dated, dated))
        watched.look(50)
    assert cluster.calls("scancel") == []
    watched.leave_record()
    for path in (watched.files().exit, watched.files().results):
        os.utime(path, (dated, dated))
    cluster.queue(watched.queue_row("COMPLETED"))
    watched.look(5)
    assert watched.modes() == ["success"]


def test_race_23_a_further_log_is_read_though_its_file_server_is_minutes_behind(watch, cluster, tmp_path):
    log = tmp_path / "training.log"
    log.write_text("step 1\n")
    dated = BEGUN - SKEW_S
    os.utime(log, (dated, dated))
    signals = [{"name": "step", "pattern": "step"}]
    watched = running(watch(monitoring={"logs": [str(log)], "log_signals": signals}), cluster)
    assert [signal["name"] for event in watched.events("LogRead") for signal in event.signals] == ["step"]


@contextmanager
def no_room_beyond(size):
    """Let no file of this process grow beyond a size, as on a full disk or at the end of a quota."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_race_30_on_a_full_disk_nothing_is_lost_and_nothing_is_done(watch, cluster):
    watched = watch(monitoring=STALLS, restart_policies=RESTARTS, restart={"backoff_s": 0}, sweep=[0, 1])
    watched.submit()
    cluster.queue(watched.queue_row("RUNNING"), watched.queue_row("RUNNING", 1))
    watched.look()
    watched.leave_record(returncode=1)
    cluster.queue(watched.queue_row("FAILED", code=1 << 8), watched.queue_row("RUNNING", 1))
    journal = watched.session.state_layout.journal(watched.session.id)
    before, snapshot = journal.read_bytes(), watched.session.state_layout.snapshot.read_bytes()
    with no_room_beyond(len(before) + 10), pytest.raises(StateError, match=r"journal\.jsonl cannot be written"):
        watched.look(100)
    assert (len(cluster.calls("sbatch")), cluster.calls("scancel")) == (2, [])
    assert journal.read_bytes()[: len(before)] == before
    assert watched.session.state_layout.snapshot.read_bytes() == snapshot
    monitor = watched.another_monitor()
    monitor.step()
    assert len(cluster.calls("sbatch")) == 3
    assert journal.read_bytes().startswith(before)


def test_race_30_what_cannot_be_written_down_as_intended_is_not_submitted(watch, cluster):
    watched = watch(sweep=[0, 1])
    journal = watched.session.state_layout.journal(watched.session.id)
    with no_room_beyond(journal.stat().st_size + 10), pytest.raises(StateError, match="nothing was done"):
        watched.submit()
    assert cluster.calls("sbatch") == []
    watched.submit()
    assert len(cluster.calls("sbatch")) == 2
