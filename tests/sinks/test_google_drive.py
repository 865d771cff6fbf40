"""The Google Drive sink against a server that speaks Drive's API: the files of a session, each there once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oellm_bench.errors import ConfigError
from oellm_bench.sinks.base import SinkError, TryAgain
from oellm_bench.sinks.google_drive import GoogleDriveSink, GoogleDriveSinkConfig
from tests.conftest import ROOT
from tests.sinks.drive_server import ACCESS_TOKEN, SHARED, DriveServer
from tests.sinks.loopback import Fault, until_taken
from tests.sinks.sessions import environment, result

MB = 1024**2


@pytest.fixture
def drive() -> Iterator[DriveServer]:
    server = DriveServer()
    yield server
    server.close()
    assert server.problems == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A session with one entry on disk."""
    session = tmp_path / "it's a session"
    write(session / "entries/a/results.json", '{"name": "a"}')
    write(session / "entries/a/benchmark_results/metrics.json", '{"loss": 1}')
    write(session / "entries/a/benchmark_results/tasks.pkl", "not asked for")
    write(session / "entries/a/attempts/1/stdout.log", "first\n" * 100 + "last\n")
    write(session / "results.jsonl", "{}\n")
    return session


def write(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def config_of(drive: DriveServer, folder: Path, **more: Any) -> dict[str, Any]:
    key = str(drive.key_file(folder.parent))
    known = {"drive_folder_id": SHARED, "service_account_file": key, "base_url": drive.base_url, "timeout_s": 60}
    return {**known, "log_tail_bytes": 10, **more}


def made(drive: DriveServer, folder: Path, **more: Any) -> GoogleDriveSink:
    return GoogleDriveSink(GoogleDriveSinkConfig(**config_of(drive, folder, **more)))


def begun(drive: DriveServer, folder: Path, **more: Any) -> GoogleDriveSink:
    sink = made(drive, folder, **more)
    sink.initialize("nightly_1", environment(folder, 1))
    return sink


def told_until_taken(sink: GoogleDriveSink, folder: Path, tries: int = 12) -> list[str]:
    """Tell the session as the delivery does, each call again until it works; return what went wrong on the way."""
    start = lambda: sink.initialize("nightly_1", environment(folder, 1))  # noqa: E731
    return until_taken((start, lambda: sink.process_result(result("a")), sink.finalize), tries)


WHOLE = {
    "nightly_1/": b"",
    "nightly_1/a/": b"",
    "nightly_1/a/results.json": b'{"name": "a"}',
    "nightly_1/a/benchmark_results/metrics.json": b'{"loss": 1}',
    "nightly_1/a/attempts/1/stdout.log": b"irst\nlast\n",
    "nightly_1/results.jsonl": b"{}\n",
}


def is_whole(drive: DriveServer) -> bool:
    return drive.tree() == WHOLE and len(drive.files) == len(WHOLE)


def test_a_session_is_a_folder_with_one_for_each_entry(drive, folder):
    assert told_until_taken(made(drive, folder), folder) == []
    assert is_whole(drive)
    assert drive.count("token") == 1


def test_what_is_told_twice_is_sent_once(drive, folder):
    for _ in range(2):
        sink = made(drive, folder)
        for _ in range(2):
            told_until_taken(sink, folder)
    assert is_whole(drive) and drive.count("multipart") == 4


def test_a_retried_entry_replaces_what_has_changed(drive, folder):
    sink = begun(drive, folder)
    sink.process_result(result("a"))
    write(folder / "entries/a/results.json", '{"name": "a", "attempt": 2}')
    sink.process_result(result("a", attempt=2))
    sink.finalize()
    assert drive.tree() == {**WHOLE, "nightly_1/a/results.json": b'{"name": "a", "attempt": 2}'}
    assert drive.count("multipart") == 5


def test_without_receipts_everything_is_found_again(drive, folder):
    told_until_taken(made(drive, folder), folder)
    (receipts,) = (folder / "sinks").iterdir()
    receipts.unlink()
    told_until_taken(made(drive, folder), folder)
    assert is_whole(drive) and drive.count("multipart") == 4 and drive.count("folder") == 2


@pytest.mark.parametrize("other", [{"session8": "other123"}, {"created_at": 1_800_000_000.0}])
def test_two_sessions_of_one_name_keep_their_files_apart(drive, folder, tmp_path, other):
    told_until_taken(made(drive, folder), folder)
    later = tmp_path / "another cluster" / "nightly_1"
    write(later / "entries/a/results.json", '{"name": "a", "of": "another cluster"}')
    second = made(drive, later)
    second.initialize("nightly_1", environment(later, 1, **other))
    second.process_result(result("a"))
    kept = [file["content"] for file in drive.files.values() if file["name"] == "results.json"]
    assert sorted(kept) == [b'{"name": "a", "of": "another cluster"}', b'{"name": "a"}']
    assert [file["name"] for file in drive.files.values()].count("nightly_1") == 2


def test_of_two_folders_of_a_session_both_monitors_take_the_older(drive, folder):
    begun(drive, folder)
    (first,) = drive.files.values()
    drive.files["later"] = {**first, "id": "later"}
    for receipts in (folder / "sinks").iterdir():
        receipts.unlink()
    begun(drive, folder).process_result(result("a"))
    (entry,) = (file for file in drive.files.values() if file["name"] == "a")
    assert entry["parents"] == [first["id"]]


FAULTS = {
    "500, not taken": Fault(status=500),
    "500, taken": Fault(status=500, takes=True),
    "connection lost": Fault(takes=True, drops=True),
    "slow, taken": Fault(takes=True, holds=True),
    "429, short": Fault(status=429, retry_after="0"),
    "429, long": Fault(status=429, retry_after="3600"),
    "limit as 403": Fault(status=403, error="userRateLimitExceeded", retry_after="0"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_after_a_fault_everything_is_there_once(drive, folder, fault):
    for what in ("ids", "folder", "list", "multipart"):
        drive.fail(what, fault)
    errors = told_until_taken(made(drive, folder, timeout_s=2 if fault.holds else 60), folder)
    assert is_whole(drive)
    assert bool(errors) is (fault.retry_after != "0")
    assert all(ACCESS_TOKEN not in error and "PRIVATE" not in error for error in errors)


def test_after_an_outage_everything_is_there_once(drive, folder):
    sink = made(drive, folder)
    with drive.outage(), pytest.raises(SinkError, match="gave no answer"):
        sink.initialize("nightly_1", environment(folder, 1))
    sink.initialize("nightly_1", environment(folder, 1))
    with drive.outage(), pytest.raises(SinkError, match="gave no answer"):
        sink.process_result(result("a"))
    told_until_taken(sink, folder)
    assert is_whole(drive)


def test_a_long_wait_is_left_to_whoever_tries_again(drive, folder):
    drive.fail("list", Fault(status=429, retry_after="77"))
    with pytest.raises(TryAgain) as caught:
        begun(drive, folder)
    assert caught.value.after_s == 77


def test_a_token_that_has_run_out_is_fetched_anew(drive, folder):
    sink = begun(drive, folder)
    drive.fail("list", Fault(status=401))
    sink.process_result(result("a"))
    assert drive.count("token") == 2


def test_what_a_search_does_not_find_yet_is_not_made_twice(drive, folder):
    drive.lagging = True
    for what in ("folder", "multipart"):
        drive.fail(what, Fault(takes=True, drops=True), Fault(takes=True), Fault(takes=True, drops=True))
    told_until_taken(made(drive, folder), folder)
    assert is_whole(drive)


def test_what_has_changed_since_a_lost_answer_is_sent(drive, folder):
    sink = begun(drive, folder)
    drive.lagging = True
    drive.fail("multipart", Fault(takes=True, drops=True))
    with pytest.raises(SinkError):
        sink.process_result(result("a"))
    write(folder / "entries/a/results.json", '{"name": "a", "attempt": 2}')
    sink.process_result(result("a", attempt=2))
    sink.finalize()
    assert drive.tree() == {**WHOLE, "nightly_1/a/results.json": b'{"name": "a", "attempt": 2}'}


# Large files.


@pytest.fixture
def large(folder: Path) -> bytes:
    content = os.urandom(1024) * (17 * 1024)  # 17 MiB: three pieces
    write(folder / "entries/a/artifacts/large.bin", content)
    return content


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_large_file_goes_on_where_it_stopped(drive, folder, large, fault):
    drive.fail("start", fault)
    drive.fail("piece", Fault(takes=True), Fault(takes=True), fault, fault)
    told_until_taken(made(drive, folder, timeout_s=2 if fault.holds else 60), folder)
    assert drive.tree() == {**WHOLE, "nightly_1/a/artifacts/large.bin": large}
    assert drive.count("piece") <= 9


def test_an_upload_that_drive_has_forgotten_begins_again(drive, folder, large):
    drive.fail("piece", Fault(takes=True), Fault(takes=True), Fault(status=500))
    sink = begun(drive, folder)
    with pytest.raises(SinkError):
        sink.process_result(result("a"))
    drive.forget_uploads()
    with pytest.raises(SinkError, match="404"):
        sink.process_result(result("a"))
    sink.process_result(result("a"))
    assert drive.tree()["nightly_1/a/artifacts/large.bin"] == large


def test_what_is_too_large_is_left_out_and_named(drive, folder, large, caplog):
    told_until_taken(made(drive, folder, max_bytes=MB), folder)
    assert is_whole(drive) and "large.bin is left out" in caplog.text


# A process that is killed.


@pytest.mark.parametrize("done_first", [True, False], ids=["taken", "not taken"])
def test_killed_at_each_kind_of_request_everything_is_there_once(drive, folder, large, tmp_path, done_first):
    config = config_of(drive, folder)
    document = {"module": "oellm_bench.sinks.google_drive", "sink": "GoogleDriveSink", "config": config}
    document |= {"environment": environment(folder, 1), "results": [result("a")]}
    (tmp_path / "session.json").write_text(json.dumps(document))
    kills: dict[str, int] = {}
    most = {"folder POST": 2, "multipart POST": 2, "piece PUT": 2, "start POST": 1}

    def started() -> int:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.sinks.worker", str(tmp_path / "session.json")], cwd=ROOT
        )

        def kill(what: str) -> tuple[int, bool] | None:
            if kills.get(what, 0) >= most.get(what, 0):
                return None
            kills[what] = kills.get(what, 0) + 1
            return process.pid, done_first

        drive.kill = kill
        return process.wait(timeout=120)

    ends = [started()]
    while ends[-1]:
        ends.append(started())
    assert set(ends) == {-9, 0} and kills == most
    assert drive.tree() == {**WHOLE, "nightly_1/a/artifacts/large.bin": large}
    assert len(drive.files) == len(WHOLE) + 1


# What jobs leave behind.


def test_no_link_is_followed(drive, folder, tmp_path, caplog):
    secret = write(tmp_path / "outside/secret.txt", "secret")
    entry = folder / "entries/a"
    (entry / "artifacts").symlink_to(secret.parent)
    (entry / "attempts/1/exit.json").symlink_to(secret)
    (entry / "attempts/2").symlink_to(secret.parent)
    write(secret.parent / "stdout.log", "secret")
    os.mkfifo(entry / "benchmark_results/params.json")
    told_until_taken(made(drive, folder), folder)
    assert is_whole(drive)
    assert "attempts/2/stdout.log is left out" in caplog.text


def test_an_entry_folder_that_is_a_link_is_not_followed(drive, folder, tmp_path):
    write(tmp_path / "outside/results.json", "secret")
    (folder / "entries/b").symlink_to(tmp_path / "outside")
    begun(drive, folder).process_result(result("b", entry_dir=str(folder / "entries/b")))
    assert drive.tree() == {"nightly_1/": b"", "nightly_1/b/": b""}


def test_no_path_leads_up(drive, folder, tmp_path):
    write(tmp_path / "outside/results.json", "secret")
    begun(drive, folder).process_result(result("b", entry_dir=str(folder / "../outside")))
    assert drive.tree() == {"nightly_1/": b"", "nightly_1/b/": b""}


def test_a_burst_of_files_is_cut_and_told(drive, folder, caplog):
    for number in range(1200):
        write(folder / f"entries/a/artifacts/{number:04}", "")
    drive.fail("multipart", Fault(status=500))
    with pytest.raises(SinkError):
        begun(drive, folder).process_result(result("a"))
    assert "of 1202 files the first 1000 are sent" in caplog.text


def test_any_name_is_a_name(drive, folder):
    name = "\x1b[31m'; and trashed = true or '\u202e" + "x" * 1000
    write(folder / "entries/z/results.json", "{}")
    begun(drive, folder).process_result(result(name, entry_dir=str(folder / "entries/z")))
    (entry,) = (file for file in drive.files.values() if "trashed" in file["name"])
    assert entry["name"].isprintable() and len(entry["name"]) == 500


# Configuration and secrets.


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"drive_folder_id": ""}, "drive_folder_id"),
        ({"upload": ("../../*",)}, "upload"),
        ({"upload": ("/etc/*",)}, "upload"),
        ({"base_url": "http://www.googleapis.com"}, "base_url"),
        ({"service_account_file_env": "/a/path.json"}, "service_account_file_env"),
        ({"max_bytes": 0}, "max_bytes"),
    ],
)
def test_wrong_values_are_refused(values, field):
    with pytest.raises(ConfigError) as caught:
        GoogleDriveSink(GoogleDriveSinkConfig(**{"drive_folder_id": SHARED, **values}))
    (problem,) = caught.value.problems
    assert problem.where == field and problem.fix


def test_a_missing_key_is_named(drive, tmp_path, monkeypatch):
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    (problem,) = GoogleDriveSink(GoogleDriveSinkConfig(drive_folder_id=SHARED)).problems()
    assert "GOOGLE_APPLICATION_CREDENTIALS" in str(problem)
    config = GoogleDriveSinkConfig(drive_folder_id=SHARED, service_account_file=str(tmp_path / "none.json"))
    (problem,) = GoogleDriveSink(config).problems()
    assert "none.json is no file" in problem.what


def test_the_key_may_be_named_by_the_environment(drive, folder, monkeypatch):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(drive.key_file(folder.parent)))
    begun(drive, folder, service_account_file="")
    assert drive.tree() == {"nightly_1/": b""}


@pytest.mark.parametrize("changed", [{"private_key": "-----BEGIN PRIVATE KEY-----\nhidden"}, {"private_key": ""}])
def test_a_key_that_is_none_is_refused_without_being_shown(drive, folder, changed):
    sink = made(drive, folder)
    drive.key_file(folder.parent, **changed)
    with pytest.raises(SinkError) as caught:
        sink.initialize("nightly_1", environment(folder, 1))
    assert "hidden" not in str(caught.value)


def test_a_folder_that_is_not_shared_is_told_so(drive, folder):
    with pytest.raises(SinkError, match="share the folder with the service account"):
        begun(drive, folder, drive_folder_id="elsewhere")


def test_no_secret_is_on_disk_or_in_a_log(drive, folder, large, caplog):
    caplog.set_level("DEBUG", logger="oellm_bench")
    told_until_taken(made(drive, folder), folder)
    written = "".join(path.read_text() for path in (folder / "sinks").iterdir())
    assert all(secret not in written + caplog.text for secret in (ACCESS_TOKEN, "PRIVATE KEY", "/upload/session"))
