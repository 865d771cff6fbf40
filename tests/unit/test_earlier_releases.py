"""What an earlier release has written stays readable: sessions outlive an upgrade."""

from __future__ import annotations

import json

import pytest

from oellm_bench.core.events import SCHEMA_VERSION, CancelAsked
from oellm_bench.core.plan import read_entry, read_plan
from oellm_bench.core.result import EntryResult
from oellm_bench.errors import StateError
from oellm_bench.session import read_session
from oellm_bench.state.fold import apply
from oellm_bench.state.journal import Journal
from oellm_bench.state.model import SessionState

ENTRY = {
    "index": 0,
    "id": "abcdefgh",
    "name": "e",
    "parameters": {"n": 1},
    "argv": ["true"],
    "environment": {},
    "cwd": "/",
    "timeout_s": 60.0,
    "script": "scripts/e.sbatch",
    "task": None,
    "resources": {"nodes": 1, "gpus": 0, "walltime_s": 180},
    "requirements": [],
    "ray": {"enabled": False},
    "launcher": [],
    "contract": False,
    "delete_scratch": True,
    "watch": 0,
}
HEAD = {"schema_version": 1, "project": "p", "fingerprint": "f", "watch": [{"monitoring": {}, "restart": {}}]}
SESSION = {
    "schema_version": 1,
    "id": "p_1",
    "session8": "00000000",
    "project": "p",
    "fingerprint": "f",
    "session_dir": "/x",
    "state_dir": "/y",
    "created_at": 1.0,
    "created": "",
    "entries": 1,
    "scheduler": {"class_name": "SlurmClient"},
    "sinks": {},
    "max_parallel": None,
    "versions": {},
    "git": {},
    "command_line": ["oellm-bench"],
}
JOURNAL = (
    {"event": "Selected", "at": 1.0, "entries": ["abcdefgh"], "schema_version": 1},
    {
        "event": "Intended",
        "at": 2.0,
        "token": "ob-0-abcdefgh-a1",
        "entries": ["abcdefgh"],
        "attempt": 1,
        "tasks": [],
        "offset": 0,
        "timeout_s": 60.0,
        "extra_time_s": 0.0,
    },
    {"event": "Submitted", "at": 3.0, "token": "ob-0-abcdefgh-a1", "job_id": "7", "adopted": False},
    {"event": "Observed", "at": 4.0, "entry": "abcdefgh", "attempt": 1, "state": "RUNNING", "job_id": "7"},
)


def test_a_plan_of_the_first_release(tmp_path):
    path = tmp_path / "sweep.json"
    path.write_text(f'{json.dumps(HEAD)[:-1]}, "entries": [\n{json.dumps(ENTRY)}\n]}}\n')
    (entry,) = read_plan(path).entries
    assert entry == read_entry(path, index=0)
    assert (entry.after, entry.isolated, entry.dependency) == ((), False, "")


def test_a_session_of_another_release_may_say_less_or_more(tmp_path):
    for document in (SESSION, {**SESSION, "of_a_later_release": 1}):
        (tmp_path / "session.json").write_text(json.dumps(document))
        session = read_session(tmp_path)
        assert (session.id, session.monitor_job) == ("p_1", {})


def test_a_result_of_the_first_release():
    document = {"schema_version": 1, "name": "e", "id": "abcdefgh", "attempt": 1, "success": True}
    result = EntryResult.from_document({**document, "error_mode": "success", "requirements_not_met": []})
    assert (result.requirements_told, result.figures()) == ((), {"exec_time_s": None})


@pytest.mark.parametrize("document", [[], None, 3, {"metrics": []}, {"stages": "x"}])
def test_what_is_no_result_is_refused(document):
    with pytest.raises(TypeError):
        EntryResult.from_document(document)


def journal_in(folder, *documents):
    path = folder / "journal.jsonl"
    path.write_text("".join(f"{json.dumps(document)}\n" for document in documents))
    return Journal(path)


def state_of(journal):
    state = SessionState()
    for event in journal.read_new():
        apply(event, state)
    return state


def test_a_journal_of_the_first_release(tmp_path):
    state = state_of(journal_in(tmp_path, *JOURNAL))
    assert state.entries["abcdefgh"].attempts[0].job_id == "7"


@pytest.mark.parametrize(
    ("by", "mode"), [("stall", "stall"), ("dependency", "dependency_failed"), ("user", ""), ("condition", "")]
)
def test_a_cancel_that_an_earlier_release_asked_for_is_judged_as_it_was_meant(tmp_path, by, mode):
    asked = {"event": "CancelAsked", "at": 5.0, "entry": "abcdefgh", "attempt": 1, "by": by, "reason": "because"}
    state = state_of(journal_in(tmp_path, *JOURNAL, asked))
    assert state.entries["abcdefgh"].attempts[0].cancel_mode == mode


def test_what_this_release_adds_to_a_journal_of_the_first_stays_as_it_is(tmp_path):
    asked = CancelAsked(at=5.0, entry="abcdefgh", attempt=1, by="finish", mode="success")
    state = state_of(journal_in(tmp_path, *JOURNAL, asked.to_document()))
    assert state.entries["abcdefgh"].attempts[0].cancel_mode == "success"


@pytest.mark.parametrize("version", [SCHEMA_VERSION + 1, 0, "2", None])
def test_a_journal_of_a_later_release_is_left_alone(tmp_path, version):
    journal = journal_in(tmp_path, {**JOURNAL[0], "schema_version": version})
    before = journal.path.read_bytes()
    with pytest.raises(StateError, match=f"schema_version {version}, this release reads up to {SCHEMA_VERSION}"):
        state_of(journal)
    assert journal.path.read_bytes() == before
