"""Logs, names and folders as no well-meaning job leaves them: the monitor goes on, and each line counts once."""

from __future__ import annotations

import json
import os
import resource

import pytest

from oellm_bench.errors import StateError
from tests.watching.test_further_logs import append, running

CHECKPOINT = {"name": "checkpoint", "pattern": r"saved (?P<path>.*)", "action": "react"}
TELL = {"class_name": "NotifyAction", "message": "at {path}"}


def watching(watch, cluster, *logs, action=TELL, **monitoring):
    settings = {"logs": [*logs], "log_signals": [CHECKPOINT], "actions": {"react": action}, **monitoring}
    return running(watch(monitoring=settings), cluster)


def folder_of(watched):
    folder = watched.files().root / "r"
    folder.mkdir(exist_ok=True)
    return folder


def told(watched):
    return [event.message for event in watched.events("Noticed")]


def finished(watched, cluster):
    """End the job, and look until all is over."""
    watched.leave_record()
    cluster.queue(watched.queue_row("COMPLETED"))
    return any(watched.look(5).finished for _ in range(50))


@pytest.mark.parametrize("said", [b"/x\0y", b"\xff\xfe", b"/x" + b"\xff" * 60_000])
def test_what_no_argument_can_hold_ends_no_monitor(watch, cluster, said):
    watched = watching(watch, cluster, action=["true", "{path}"])
    watched.files().stdout.write_bytes(b"saved " + said + b"\n")
    watched.look(1)
    assert finished(watched, cluster)
    assert len(watched.events("ActionQueued")) == 1


def test_a_log_whose_name_is_no_text_is_followed(watch, cluster):
    watched = watching(watch, cluster, "{attempt_dir}/r/*.log", action="true")
    name = os.fsencode(folder_of(watched)) + b"/a\xff.log"
    with open(name, "wb") as stream:  # noqa: PTH123 - Path takes no bytes
        stream.write(b"saved /x\n")
    watched.look(1)
    assert len(watched.events("ActionQueued")) == 1
    assert finished(watched, cluster)


def test_links_that_lead_back_are_no_further_logs(watch, cluster):
    watched = watching(watch, cluster, "{attempt_dir}/r/**/*.log")
    folder = folder_of(watched)
    for name in ("a", "b"):
        (folder / name).symlink_to(".")
    append(folder / "x.log", "saved /x\n")
    (folder / "latest.log").symlink_to("x.log")
    watched.look(1)
    assert told(watched) == ["at /x"]


def test_a_log_that_was_renamed_into_the_pattern_is_read_on_not_again(watch, cluster):
    watched = watching(watch, cluster, "{attempt_dir}/r/*")
    log = folder_of(watched) / "train.log"
    append(log, "saved 1\n")
    watched.look(1)
    for number in (2, 3):
        append(log, f"saved {number}, late\n")
        log.rename(log.with_name(f"train.log.{number}"))
        append(log, f"saved {number}\n")
        watched.look(1)
        watched.monitor = watched.another_monitor()
        watched.look(1)
    assert sorted(told(watched)) == ["at 1", "at 2", "at 2, late", "at 3", "at 3, late"]


def test_ranks_that_are_named_like_rotated_parts_are_logs_of_their_own(watch, cluster):
    watched = watching(watch, cluster, "{attempt_dir}/r/*")
    for number, name in enumerate(("out", "out.1", "out.2")):
        append(folder_of(watched) / name, f"saved {number}\n")
    watched.look(1)
    for number, name in enumerate(("out", "out.1", "out.2"), 3):
        append(folder_of(watched) / name, f"saved {number}\n")
    watched.look(1)
    assert sorted(told(watched)) == [f"at {number}" for number in range(6)]


def test_a_write_that_ends_between_two_lines_of_the_journal_loses_no_action(watch, cluster):
    watched = watching(watch, cluster)
    watched.files().stdout.write_bytes(b"saved /x\n")
    journal = watched.session.state_layout.journal(watched.session.id)
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    whole = journal.read_bytes()
    # However much of it the disk takes.
    for size in range(len(whole) + 1, len(whole) + 700, 60):
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
        try:
            with pytest.raises(StateError):
                watched.another_monitor().step()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
        events = [json.loads(line)["event"] for line in journal.read_bytes()[len(whole) :].splitlines()]
        if "LogRead" in events:
            assert "Noticed" in events
            break
    watched.another_monitor().step()
    assert told(watched) == ["at /x"]


def test_a_monitor_killed_between_two_lines_of_the_journal_loses_no_action(watch, cluster):
    watched = watching(watch, cluster)
    watched.files().stdout.write_bytes(b"saved /x\n")
    journal = watched.session.state_layout.journal(watched.session.id)
    before = len(journal.read_bytes())
    watched.look(1)
    lines = journal.read_bytes()[before:].splitlines(keepends=True)
    for kept in range(len(lines)):
        with journal.open("r+b") as stream:
            stream.truncate(before)
            stream.seek(before)
            stream.writelines([*lines[:kept], lines[kept][:20]])
        watched.another_monitor().step()
        assert set(told(watched)) == {"at /x"}
        assert len(watched.another_monitor().store.state.notices) == 1


def test_a_flood_of_signals_is_bounded_in_the_journal(watch, cluster):
    restart = {"class_name": "RestartAction"}
    watched = watching(watch, cluster, action=restart)
    watched.files().stdout.write_bytes((b"saved " + b"x" * 60_000 + b"\n") * 1000)
    watched.look(1)
    assert len(watched.events("CancelAsked")) == 1
    assert watched.session.state_layout.journal(watched.session.id).stat().st_size < 10_000_000


def test_the_signals_of_a_job_that_nobody_saw_running_count(watch, cluster):
    cluster.fail("sacct", "Slurm accounting storage is disabled")
    watched = watch(monitoring={"log_signals": [CHECKPOINT], "actions": {"react": TELL}})
    watched.submit()
    watched.leave_record()
    watched.files().stdout.write_bytes(b"saved /x\nsaved /last")
    assert any(watched.look(60).finished for _ in range(20))
    assert told(watched) == ["at /x", "at /last"]


def test_what_a_signal_has_ended_well_no_later_signal_ends_badly(watch, cluster):
    signals = [
        {"name": "converged", "pattern": "converged", "action": "finish"},
        {"name": "nan", "pattern": "nan", "action": "again"},
    ]
    actions = {"finish": {"class_name": "FinishAction"}, "again": {"class_name": "RestartAction"}}
    watched = running(watch(monitoring={"log_signals": signals, "actions": actions}), cluster)
    for said in ("converged\n", "nan\n"):
        append(watched.files().stdout, said)
        watched.look(1)
    cluster.queue(watched.queue_row("CANCELLED"))
    watched.look(1)
    assert watched.modes() == ["success"]


def test_single_looks_find_a_stall_behind_half_a_line(watch, cluster):
    watched = running(watch(monitoring={"inactivity_s": 60.0}), cluster)
    log = watched.files().stdout
    log.write_bytes(b"line\n 10%|#   ")
    os.utime(log, (watched.clock.now(), watched.clock.now()))
    for _ in range(8):
        watched.monitor = watched.another_monitor()
        watched.look(60)
    assert [event.by for event in watched.events("CancelAsked")] == ["stall"]


def test_looks_that_take_very_long_are_acted_upon_all_the_same(watch, cluster):
    watched = running(watch(), cluster)
    watched.monitor.pace_s = 60.0
    watched.leave_record()
    cluster.queue(watched.queue_row("COMPLETED"))
    assert any(watched.look(200).finished for _ in range(4))


def test_a_stall_is_found_by_looks_that_take_very_long(watch, cluster):
    """squeue and sacct take minutes, again and again: that is no sleep, and no clock begins anew."""
    watched = running(watch(monitoring={"inactivity_s": 600.0}), cluster)
    watched.monitor.pace_s = 60.0
    scheduler, clock = watched.monitor.scheduler, watched.clock
    quick = scheduler.snapshot

    def slow(*arguments, **options):
        clock.sleep(200)
        return quick(*arguments, **options)

    scheduler.snapshot = slow
    for _ in range(6):
        watched.look(30)
    assert [event.by for event in watched.events("CancelAsked")] == ["stall"]
