"""A finished session is gone on with: its journal comes back whole, whatever kills who brings it back."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from oellm_bench.book import Book
from oellm_bench.cli.selection import Wanted
from oellm_bench.core.events import (
    CancelAsked,
    Decided,
    Delivered,
    Ended,
    Event,
    GivenUp,
    Intended,
    Retried,
    Selected,
    SessionFinished,
    Submitted,
)
from oellm_bench.core.layout import SessionLayout, StateLayout
from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.errors import StateError, UsageError
from oellm_bench.history import failure
from oellm_bench.restart.settings import RestartConfig
from oellm_bench.schedulers.base import Limits
from oellm_bench.state.fold import apply
from oellm_bench.state.model import SessionState
from oellm_bench.state.store import SessionStore

# A copy of the folder for each point at which the file system is asked for something; the process dies there.
KILLED = """
import itertools, os, shutil, signal, sys
from pathlib import Path
from oellm_bench.core.events import Selected
from oellm_bench.core.layout import SessionLayout, StateLayout
from oellm_bench.state.store import SessionStore

folder = Path(sys.argv[1])
for number in itertools.count(1):
    copy = shutil.copytree(folder / "p_1", folder / f"killed{number}" / "p_1").parent
    child = os.fork()
    if child == 0:
        left = number
        def hook(name, arguments):
            global left
            left -= name in ("open", "os.rename", "os.remove", "os.mkdir", "os.truncate", "shutil.copyfile")
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
        store = SessionStore("p_1", SessionLayout(copy / "p_1"), StateLayout(copy / "state"))
        sys.addaudithook(hook)
        with store.locked():
            store.go_on(Selected(at=5.0, entries=("second",)))
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
"""


def ran(entry: str, mode: str, attempt: int = 1) -> list[Event]:
    token = f"ob-{entry}-a{attempt}"
    return [
        Intended(at=1.0, token=token, entries=(entry,), attempt=attempt, timeout_s=60),
        Submitted(at=1.0, token=token, job_id=f"{attempt}"),
        Ended(at=2.0, entry=entry, attempt=attempt, mode=mode, reason=""),
        Decided(at=2.0, entry=entry, attempt=attempt, restart=False, reason="that is all"),
    ]


def store_in(folder) -> SessionStore:
    return SessionStore("p_1", SessionLayout(folder / "p_1"), StateLayout(folder / "state"))


@pytest.fixture
def finished(tmp_path):
    (tmp_path / "p_1").mkdir()
    store = store_in(tmp_path)
    with store.locked():
        store.append(Selected(at=0.0, entries=("first",)), *ran("first", "success"))
        store.append(SessionFinished(at=3.0, passed=1, failed=0))
    store.archive()
    return tmp_path


def test_who_is_killed_while_reopening_leaves_the_finished_session_or_the_reopened_one(finished):
    archive = finished / "p_1" / "journal.jsonl"
    with archive.open("a") as stream:
        stream.write('{"event": "Deliv')  # of a deliver that was killed
    before = archive.read_text().splitlines()[:-1]
    subprocess.run([sys.executable, "-c", KILLED, str(finished)], check=True, timeout=120)
    copies = [*finished.glob("killed*")]
    outcomes = set()
    for copy in copies:
        store = store_in(copy)
        outcomes.add(store.state.finished)
        assert store.state.finished == ("second" not in store.state.entries)
        with store.locked():
            if store.state.finished:  # the next submit
                store.go_on(Selected(at=5.0, entries=("second",)))
            store.append(*ran("second", "success"), SessionFinished(at=9.0, passed=2, failed=0))
        store.archive()
        lines = (copy / "p_1" / "journal.jsonl").read_text().splitlines()
        assert lines[: len(before)] == before
        assert sum('"Selected"' in line for line in lines) == 2
        assert not [*copy.glob("state/monitor/*/*")]
    assert len(copies) > 8 and outcomes == {True, False}


def test_who_has_a_session_open_sees_that_it_was_reopened_and_does_not_put_it_away(finished):
    first, other, late = store_in(finished), store_in(finished), store_in(finished)
    with first.locked():
        first.go_on(Selected(at=5.0, entries=("second",)))
    with other.locked():
        assert list(other.state.entries) == ["first", "second"]
        other.append(*ran("second", "crash"))
    late.archive()
    assert not (finished / "p_1" / "journal.jsonl").exists()
    first.refresh()
    assert first.state.entries["second"].over


def test_more_that_is_selected_before_the_journal_was_put_away_keeps_it_where_it_is(tmp_path):
    (tmp_path / "p_1").mkdir()
    store = store_in(tmp_path)
    with store.locked():
        store.append(Selected(at=0.0, entries=("first",)), SessionFinished(at=3.0, passed=1, failed=0))
        store.go_on(Selected(at=5.0, entries=("second",)))
    store.archive()
    assert not (tmp_path / "p_1" / "journal.jsonl").exists()
    assert "second" in store_in(tmp_path).state.entries


def test_a_finished_session_takes_nothing_but_what_reopens_it(finished):
    store = store_in(finished)
    with store.locked():
        store.go_on()
        with pytest.raises(StateError, match="finished"):
            store.append(*ran("first", "success", attempt=2))
    assert (finished / "p_1" / "journal.jsonl").exists()


def entry(name: str, index: int, **values) -> PlannedEntry:
    common = {"id": name, "name": name, "index": index, "parameters": {}, "argv": ("true",), "timeout_s": 60.0}
    return PlannedEntry(**common, script="s", **values)


def chain() -> Plan:
    """Return a first, a second after it, and one alone."""
    entries = (entry("first", 0), entry("second", 1, after=("first",)), entry("alone", 2))
    return Plan(project="p", fingerprint="f", entries=entries)


def state_of(*events: Event) -> SessionState:
    state = SessionState()
    for event in events:
        apply(event, state)
    return state


def test_what_failed_is_tried_again_as_further_attempts_and_what_passed_is_not():
    plan = chain()
    given_up = GivenUp(at=3.0, entry="second", mode="dependency_failed", reason="first did not succeed")
    delivered = [Delivered(at=3.0, sink="files", entry=name) for name in ("first", "second", "alone", "")]
    state = state_of(
        Selected(at=0.0, entries=("first", "second", "alone")),
        *ran("first", "crash"),
        *ran("first", "crash", attempt=2),
        *ran("alone", "success"),
        given_up,
        *delivered,
        SessionFinished(at=4.0, passed=1, failed=2),
    )
    events = Wanted(again=True).events(plan, state, 9.0)
    assert events == [Retried(at=9.0, entries=("first", "second"))]
    apply(events[0], state)
    assert not state.finished and state.delivered == {("files", "alone")}
    book = Book(session8="00000000", plan=plan, layout=SessionLayout(Path("/s")))
    (due,) = book.due(state, 9.0, Limits())
    assert (due.entries, due.attempt) == (("first",), 3)
    apply(due, state)
    apply(Submitted(at=9.0, token=due.token, job_id="7"), state)
    (due,) = book.due(state, 9.0, Limits())
    assert (due.entries, due.attempt, due.after) == (("second",), 1, ("7",))
    assert Wanted(again=True).events(plan, state, 9.0) == []


def test_the_budgets_of_what_is_tried_again_begin_anew():
    plan, config = chain(), RestartConfig()
    state = state_of(Selected(at=0.0, entries=("alone",)), *ran("alone", "crash"), *ran("alone", "crash", attempt=2))
    assert failure(plan.by_id["alone"], state.entries["alone"], (), config).restarts_for_mode == 1
    for event in (Retried(at=5.0, entries=("alone",)), *ran("alone", "crash", attempt=3)):
        apply(event, state)
    facts = failure(plan.by_id["alone"], state.entries["alone"], (), config)
    assert (facts.attempt, facts.restarts, facts.restarts_for_mode, facts.lately) == (3, 0, 0, 0)


def test_what_was_cancelled_before_it_ever_ran_begins_with_its_first_attempt():
    state = state_of(Selected(at=0.0, entries=("alone",)), CancelAsked(at=1.0, entry="alone", attempt=0, by="user"))
    assert state.entries["alone"].over
    apply(Retried(at=5.0, entries=("alone",)), state)
    assert state.entries["alone"].is_fresh


@pytest.mark.parametrize(
    ("mode", "subset", "goes_on"),
    [
        ("success", None, True),
        ("success", {1}, True),
        ("success", {0}, False),  # all of it is over: it begins anew
        ("crash", {1}, False),  # it could only fail as well
        ("crash", None, True),  # one of them does not hang on what failed
    ],
)
def test_a_finished_session_is_gone_on_with_where_something_new_can_run(mode, subset, goes_on):
    state = state_of(Selected(at=0.0, entries=("first",)), *ran("first", mode))
    assert Wanted(subset=subset).goes_on_with(chain(), state) is goes_on


def test_a_session_of_which_everything_was_submitted_begins_anew():
    state = state_of(Selected(at=0.0, entries=("first", "second", "alone")))
    assert not Wanted().goes_on_with(chain(), state)


def test_what_waits_for_something_that_failed_is_not_tried_again_without_it():
    state = state_of(Selected(at=0.0, entries=("first",)), *ran("first", "crash"))
    with pytest.raises(UsageError, match=r"entry 1 \(second\) waits for first, which has failed; add 0"):
        Wanted(subset={1}, again=True).events(chain(), state, 9.0)
    kinds = [type(event).__name__ for event in Wanted(subset={0, 1}, again=True).events(chain(), state, 9.0)]
    assert kinds == ["Selected", "Retried"]
