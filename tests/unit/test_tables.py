"""What a job wrote, as it is shown: in tables, CSV and Markdown short and printable, as a log whole and in order."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from oellm_bench.cli.table import cell
from oellm_bench.core.events import Decided, Ended, Intended, Selected, SessionFinished, Submitted
from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.plan import Plan, PlannedEntry, to_text
from oellm_bench.core.result import EntryResult
from oellm_bench.session import SCHEMA_VERSION, Session
from oellm_bench.state.store import SessionStore

LIMIT_S = 30.0
AWKWARD = {"plain": 1.5, "lone \ud800 key": 2, "lone value": "a\udfffb", "umlaut": "grün", "pipe|d": "=x|y"}


def finished_session(folder: Path, **modes: str) -> Session:
    """Make a session whose entries have ended, by name, in these error modes, all with awkward metrics."""
    layout = SessionLayout(folder)
    layout.root.mkdir()
    entries = tuple(
        PlannedEntry(index=i, id=f"id{i}", name=name, parameters={}, argv=("true",), timeout_s=1.0, script="s")
        for i, name in enumerate(modes)
    )
    layout.sweep.write_text(to_text(Plan(project="x", fingerprint="x", entries=entries)))
    session = write_session(layout)
    store = session.store()
    with store.locked():
        store.append(Selected(at=0.0, entries=tuple(entry.id for entry in entries)))
        for entry, mode in zip(entries, modes.values(), strict=True):
            store.append(
                Intended(at=0.0, token=entry.id, entries=(entry.id,), attempt=1, timeout_s=1.0),
                Ended(at=0.0, entry=entry.id, attempt=1, mode=mode, reason="why"),
                Decided(at=0.0, entry=entry.id, attempt=1, restart=False, reason=mode),
            )
            path = layout.entry(entry.name).attempt(1).results
            path.parent.mkdir(parents=True)
            metrics = {**AWKWARD, "huge": "x" * 3_000_000}
            result = EntryResult(
                name=entry.name, id=entry.id, attempt=1, success=mode == "success", error_mode=mode, metrics=metrics
            )
            path.write_text(json.dumps(result.to_document()))
    return session


def write_session(layout: SessionLayout) -> Session:
    session = Session(
        id="x",
        session8="x",
        project="x",
        fingerprint="x",
        session_dir=str(layout.root),
        state_dir=str(layout.root / "state"),
        created_at=0.0,
        created="",
        entries=1,
        scheduler={},
        sinks={},
        max_parallel=None,
        versions={},
        git={},
        command_line=(),
    )
    layout.session.write_text(json.dumps({**asdict(session), "schema_version": SCHEMA_VERSION}))
    return session


def results(session: Session, *form: str, encoding: str = "utf-8") -> subprocess.CompletedProcess[str]:
    argv = (sys.executable, "-m", "oellm_bench", "results", session.session_dir, *form)
    return subprocess.run(
        argv,
        capture_output=True,
        encoding=encoding,
        timeout=LIMIT_S,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return finished_session(tmp_path / "it's a session", good="success", bad="crash", stopped="cancelled")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
@pytest.mark.parametrize("form", [(), ("--csv",), ("--md",)], ids=["table", "csv", "md"])
def test_every_form_is_printed_whatever_the_metrics_hold(session, form, encoding):
    done = results(session, *form, encoding=encoding)
    assert done.returncode == 1, done.stderr
    assert "lone \\ud800 key" in done.stdout
    assert "a\\udfffb" in done.stdout
    assert ("grün" if encoding == "utf-8" else "gr\\xfcn") in done.stdout


def test_a_huge_text_is_cut_in_a_table_and_whole_in_csv(session):
    assert len(results(session, "--md").stdout) < 10_000
    csv.field_size_limit(10_000_000)
    rows = list(csv.DictReader(io.StringIO(results(session, "--csv").stdout)))
    assert [len(row["huge"]) for row in rows] == [3_000_000] * 3


def test_bars_do_not_end_a_markdown_cell(session):
    header, *_, last = results(session, "--md").stdout.splitlines()
    assert "pipe\\|d" in header
    assert "=x\\|y" in last


@pytest.mark.parametrize("form", ["--csv", "--json"])
def test_a_cancelled_entry_has_not_failed(session, form):
    text = results(session, form).stdout
    if form == "--json":
        found = {row["name"]: row["state"] for row in json.loads(text)["entries"]}
    else:
        csv.field_size_limit(10_000_000)
        found = {row["entry"]: row["result"].split(" ")[0] for row in csv.DictReader(io.StringIO(text))}
    assert found == {"good": "PASSED", "bad": "FAILED", "stopped": "CANCELLED"}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "-"),
        ("", "-"),
        (0.123456, "0.1235"),
        (12, "12"),
        ("two\nlines\x1b[0m", "two lines [0m"),
        ("x" * 301, "x" * 297 + "..."),
        ("\ud800" * 3, "\\ud800" * 3),
    ],
)
def test_a_cell_is_short_and_printable(value, shown):
    assert cell(value) == shown


@pytest.fixture
def restarted(tmp_path: Path) -> tuple[Session, SessionStore]:
    """Make a session whose entry has crashed and runs again; each attempt has said which it is."""
    session = finished_session(tmp_path / "it's a session", again="crash")
    store = session.store()
    with store.locked():
        store.append(
            Decided(at=0.0, entry="id0", attempt=1, restart=True, reason="once more"),
            Intended(at=0.0, token="second", entries=("id0",), attempt=2, timeout_s=1.0),
            Submitted(at=0.0, token="second", job_id="7"),
        )
    for number in (1, 2):
        log = session.layout.entry("again").attempt(number).stdout
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"this is attempt {number}\n")
    return session, store


def follow(session: Session, *rest: str) -> subprocess.Popen[str]:
    argv = (sys.executable, "-m", "oellm_bench", "logs", session.session_dir, "0", "-f", *rest)
    return subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_following_one_attempt_ends_with_it(restarted):
    with follow(restarted[0], "--attempt", "1") as process:
        try:
            shown, _ = process.communicate(timeout=LIMIT_S)
        finally:
            process.kill()
    assert shown == "this is attempt 1\n"


def test_following_goes_on_with_the_next_attempt_until_the_entry_is_over_and_its_journal_put_away(restarted):
    session, store = restarted
    with follow(session) as process:
        try:
            assert "attempt 1" in process.stderr.readline()
            assert "attempt 2" in process.stderr.readline()
            with store.locked():
                store.append(
                    Ended(at=0.0, entry="id0", attempt=2, mode="success", reason=""),
                    Decided(at=0.0, entry="id0", attempt=2, restart=False, reason="succeeded"),
                    SessionFinished(at=0.0, passed=1, failed=0),
                )
            store.archive()
            shown, _ = process.communicate(timeout=LIMIT_S)
        finally:
            process.kill()
    assert shown == "this is attempt 1\nthis is attempt 2\n"
    assert process.returncode == 0
