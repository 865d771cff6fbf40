"""The seams of submission: stale answers, dead submitters, cancels in between, a journal archived meanwhile."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import pytest

from oellm_bench.book import Book
from oellm_bench.clock import ManualClock
from oellm_bench.core.events import CancelAsked, Decided, Ended, Intended, Selected, SessionFinished, Submitted
from oellm_bench.core.job import JobId, JobState, JobStatus, Snapshot
from oellm_bench.core.layout import SessionLayout, StateLayout
from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.errors import QueueFull, SchedulerUnavailable, StateError, SubmissionRejected, SubmissionUnclear
from oellm_bench.schedulers.base import Limits, Scheduler
from oellm_bench.state.fold import apply
from oellm_bench.state.model import SessionState
from oellm_bench.state.store import SessionStore
from oellm_bench.submission import Submitter


class Scripted(Scheduler):
    """A scheduler that answers each submission as the test says: an error to raise, or None for a job."""

    def __init__(self, *answers: Exception | None, limits: Limits | None = None) -> None:
        self.answers = list(answers)
        self.requests = []
        self.answer = None
        self.looks = 0
        self._limits = limits or Limits()

    def submit(self, request):
        self.requests.append(request)
        answer = self.answers.pop(0) if self.answers else None
        if answer is not None:
            raise answer
        return JobId(len(self.requests))

    def snapshot(self, prefix, since, *, insist=False):
        if self.answer is None:
            raise AssertionError("the test hands over its own snapshots")
        self.looks += 1
        return self.answer()

    def cancel(self, job_ids):
        raise AssertionError(f"nothing is to be cancelled: {job_ids}")

    def limits(self):
        return self._limits


class Desk:
    def __init__(self, folder, *answers, entries=1, array=False, limits=None, max_submit=None, chain=False):
        self.clock = ManualClock()
        self.scheduler = Scripted(*answers, limits=limits)
        planned = tuple(
            PlannedEntry(
                index=number,
                id=f"entry{number:03d}",
                name=f"e{number}",
                parameters={},
                argv=("true",),
                timeout_s=60,
                script="scripts/x.sbatch",
                task=number if array else None,
                after=(f"entry{number - 1:03d}",) if chain and number else (),
            )
            for number in range(entries)
        )
        plan = Plan(project="p", fingerprint="f", entries=planned)
        layout = SessionLayout(folder / "p_1")
        layout.root.mkdir(parents=True)
        self.store = SessionStore("p_1", layout, StateLayout(folder / "state"))
        book = Book(session8="00000000", plan=plan, layout=layout, max_submit=max_submit)
        self.submitter = Submitter(book=book, store=self.store, scheduler=self.scheduler, clock=self.clock)
        self.append(Selected(at=self.clock.now(), entries=tuple(entry.id for entry in planned)))

    def append(self, *events):
        with self.store.locked():
            self.store.append(*events)

    def snapshot(self, *jobs, **answered):
        answered = {"queue_answered": True, "accounting_answered": True, **answered}
        return Snapshot(taken_at=self.clock.now(), jobs=jobs, **answered)


def test_an_unclear_submission_is_sent_again_only_after_a_later_answer_and_the_grace_time(tmp_path):
    desk = Desk(tmp_path, SubmissionUnclear("Socket timed out"))
    desk.submitter.submit_due()
    assert len(desk.scheduler.requests) == 1
    desk.submitter.resend_lost(desk.snapshot())
    desk.clock.sleep(desk.scheduler.lookup_grace_s + 1)
    desk.submitter.resend_lost(desk.snapshot(accounting_answered=False))
    assert len(desk.scheduler.requests) == 1
    desk.submitter.resend_lost(desk.snapshot())
    assert [request.name for request in desk.scheduler.requests] == ["ob-00000000-entry000-a1"] * 2


def test_an_answer_older_than_the_death_of_the_submitter_proves_nothing(tmp_path):
    """Its sbatch may have been at work when the scheduler was asked."""
    desk = Desk(tmp_path)
    token = "ob-00000000-entry000-a1"
    desk.append(Intended(at=desk.clock.now(), token=token, entries=("entry000",), attempt=1, timeout_s=60))
    desk.clock.sleep(10 * desk.scheduler.lookup_grace_s)
    before = desk.snapshot()
    desk.clock.sleep(1)
    desk.submitter.resend_lost(before)
    assert desk.scheduler.requests == []
    job = JobStatus(job_id=JobId(7), name=token, state=JobState.RUNNING)
    desk.submitter.adopt(desk.snapshot(job))
    desk.clock.sleep(10 * desk.scheduler.lookup_grace_s)
    desk.submitter.resend_lost(desk.snapshot(job))
    assert desk.scheduler.requests == []
    assert desk.store.state.entries["entry000"].attempts[0].job_id == "7"


def test_what_was_never_sent_is_not_sent_after_a_cancel(tmp_path):
    desk = Desk(tmp_path, SubmissionUnclear("lost"))
    desk.submitter.submit_due()
    desk.append(CancelAsked(at=desk.clock.now(), entry="entry000", attempt=1, by="user"))
    desk.clock.sleep(10 * desk.scheduler.lookup_grace_s)
    desk.submitter.resend_lost(desk.snapshot())
    assert len(desk.scheduler.requests) == 1
    assert desk.store.state.entries["entry000"].attempts[0].mode.value == "cancelled"


def test_a_cancelled_task_is_over_where_its_array_is_not_taken_the_second_time(tmp_path):
    """Neither due again nor ever judged, it kept its session from its end."""
    desk = Desk(tmp_path, SubmissionUnclear("lost"), QueueFull("QOSMaxSubmitJobPerUserLimit"), entries=2, array=True)
    desk.submitter.submit_due()
    desk.append(CancelAsked(at=desk.clock.now(), entry="entry000", attempt=1, by="user"))
    desk.clock.sleep(10 * desk.scheduler.lookup_grace_s)
    desk.submitter.resend_lost(desk.snapshot())
    cancelled, wanted = desk.store.state.entries.values()
    assert (cancelled.over, wanted.over, wanted.is_fresh) == (True, False, True)


@pytest.mark.parametrize("error", [QueueFull("QOSMaxSubmitJobPerUserLimit"), SchedulerUnavailable("nobody there")])
def test_what_was_not_taken_is_due_again_as_the_same_attempt(tmp_path, error):
    desk = Desk(tmp_path, None, error, entries=3)
    desk.submitter.submit_due()
    assert len(desk.scheduler.requests) == 2
    desk.submitter.submit_due()
    names = [request.name for request in desk.scheduler.requests]
    assert names[1] == names[2] == "ob-00000000-entry001-a1"
    assert {a.job_id for e in desk.store.state.entries.values() for a in e.attempts} == {"1", "3", "4"}


def test_a_refused_submission_does_not_stop_the_others(tmp_path):
    desk = Desk(tmp_path, SubmissionRejected("Invalid account"), entries=2)
    desk.submitter.submit_due()
    first, second = desk.store.state.entries.values()
    assert first.attempts[0].refused == "Invalid account"
    assert second.attempts[0].job_id == "2"


def test_more_than_a_locks_worth_is_submitted_once_each(tmp_path):
    desk = Desk(tmp_path, entries=60)
    assert len(desk.submitter.submit_due()) == 60
    assert len({request.name for request in desk.scheduler.requests}) == 60


def test_an_array_larger_than_the_cluster_takes_goes_out_in_chunks_from_index_zero(tmp_path):
    desk = Desk(tmp_path, entries=250, array=True, limits=Limits(max_array_size=101))
    desk.submitter.submit_due()
    sent = [(request.tasks[0], request.tasks[-1], request.arguments[3]) for request in desk.scheduler.requests]
    assert sent == [(0, 100, "0"), (0, 100, "101"), (0, 47, "202")]
    ids = [entry.attempts[0].job_id for entry in desk.store.state.entries.values()]
    assert (ids[0], ids[100], ids[101], ids[249]) == ("1_0", "1_100", "2_0", "3_47")


def test_no_more_than_max_submit_are_unfinished_at_once(tmp_path):
    desk = Desk(tmp_path, entries=5, max_submit=2)
    desk.submitter.submit_due()
    assert len(desk.scheduler.requests) == 2
    desk.append(Ended(at=desk.clock.now(), entry="entry000", attempt=1, mode="success", reason=""))
    desk.submitter.submit_due()
    assert len(desk.scheduler.requests) == 3


def test_a_cancel_is_for_good_in_whatever_order_it_comes():
    asked = CancelAsked(at=3.0, entry="e", attempt=1, by="user")
    ended = Ended(at=3.0, entry="e", attempt=1, mode="crash", reason="exit code 1")
    decided = Decided(at=3.0, entry="e", attempt=1, restart=True, reason="restart 1 of 3")
    for order in permutations((asked, ended, decided)):
        state = SessionState()
        for event in (
            Selected(at=1.0, entries=("e",)),
            Intended(at=1.0, token="t", entries=("e",), attempt=1, timeout_s=1),
            Submitted(at=2.0, token="t", job_id="1"),
            *order,
        ):
            apply(event, state)
        assert not state.entries["e"].restart_due, order


def test_a_journal_archived_meanwhile_takes_nothing_more(tmp_path):
    desk = Desk(tmp_path)
    layout, states = desk.submitter.book.layout, StateLayout(tmp_path / "state")
    other = SessionStore("p_1", layout, states)
    desk.append(SessionFinished(at=1.0, passed=1, failed=0))
    desk.store.archive()
    archived = layout.journal.read_text()
    with pytest.raises(StateError, match="finished"), other.locked():
        other.append(Selected(at=1.0, entries=("entry000",)))
    other.archive()
    assert layout.journal.read_text() == archived


def test_a_monitor_that_lost_its_lease_appends_nothing(tmp_path):
    desk = Desk(tmp_path)

    def lost() -> None:
        raise StateError("another monitor has taken this session over")

    desk.store.guard = lost
    with pytest.raises(StateError, match="taken this session over"):
        desk.append(Selected(at=1.0, entries=("entry000",)))
    assert len(SessionStore("p_1", desk.submitter.book.layout, StateLayout(tmp_path / "state")).state.entries) == 1


def test_a_restart_asks_for_its_own_attempt_and_its_longer_time(tmp_path):
    desk = Desk(tmp_path)
    desk.submitter.submit_due()
    now = desk.clock.now()
    desk.append(
        Ended(at=now, entry="entry000", attempt=1, mode="timeout", reason=""),
        Decided(at=now, entry="entry000", attempt=1, restart=True, reason="", extra_time_s=120),
    )
    desk.submitter.submit_due()
    second = desk.scheduler.requests[1]
    assert second.arguments[:3] == ("2", "ob-00000000-entry000-a2", "180")
    assert second.options["time"] == "00:02:00"
    assert replace(second, options={}).sbatch_argv()[2] == "--job-name=ob-00000000-entry000-a2"


def alive(desk, number):
    return JobStatus(job_id=JobId(number + 1), name=f"ob-00000000-entry{number:03d}-a1", state=JobState.RUNNING)


def test_what_waits_for_another_is_submitted_right_after_it(tmp_path):
    desk = Desk(tmp_path, entries=3, chain=True)
    desk.submitter.submit_due()
    assert [request.options.get("dependency") for request in desk.scheduler.requests] == [
        None,
        "afterok:1",
        "afterok:2",
    ]


def test_what_waits_for_a_job_not_seen_for_long_is_not_submitted_before_a_look(tmp_path):
    """SLURM forgets ended jobs in minutes, and takes a forgotten one for a good one."""
    desk = Desk(tmp_path, None, QueueFull("full"), entries=2, chain=True)
    desk.submitter.submit_due()
    desk.clock.sleep(3600)
    desk.scheduler.answer = lambda: desk.snapshot(queue_answered=False, accounting_answered=False)
    desk.submitter.submit_due()
    assert (len(desk.scheduler.requests), desk.scheduler.looks) == (2, 1)
    desk.scheduler.answer = lambda: desk.snapshot(alive(desk, 0))
    desk.submitter.submit_due()
    assert desk.scheduler.requests[-1].options["dependency"] == "afterok:1"
    assert desk.scheduler.requests[-1].not_after <= desk.clock.now() + 60


def test_what_waits_for_a_job_that_turns_out_to_have_ended_is_not_submitted(tmp_path):
    desk = Desk(tmp_path, None, QueueFull("full"), entries=2, chain=True)
    desk.submitter.submit_due()
    desk.clock.sleep(3600)
    desk.scheduler.answer = lambda: desk.snapshot(replace(alive(desk, 0), state=JobState.FAILED))
    desk.submitter.submit_due()
    assert len(desk.scheduler.requests) == 2


def test_a_dependency_that_the_scheduler_cannot_see_any_more_is_no_refusal(tmp_path):
    desk = Desk(
        tmp_path, None, SubmissionRejected("Batch job submission failed: Job dependency problem"), entries=2, chain=True
    )
    desk.submitter.submit_due()
    assert desk.store.state.entries["entry001"].is_fresh


def test_a_refusal_of_a_script_in_a_folder_called_dependency_is_one(tmp_path):
    desk = Desk(
        tmp_path, None, SubmissionRejected("Invalid account; the script is /dependency/x"), entries=2, chain=True
    )
    desk.submitter.submit_due()
    assert desk.store.state.entries["entry001"].attempts[0].refused


def test_a_lost_submission_is_not_sent_again_to_wait_for_a_job_that_has_failed_meanwhile(tmp_path):
    desk = Desk(tmp_path, None, SubmissionUnclear("Socket timed out"), entries=2, chain=True)
    desk.submitter.submit_due()
    desk.clock.sleep(10 * desk.scheduler.lookup_grace_s)
    answer = desk.snapshot(replace(alive(desk, 0), state=JobState.FAILED))
    desk.submitter.take_in(answer)
    desk.submitter.resend_lost(answer)
    desk.submitter.submit_due()
    assert len(desk.scheduler.requests) == 2
    assert desk.store.state.entries["entry001"].is_fresh
