"""Who monitors a session: one process at a time, whatever became of the file that says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from oellm_bench.clock import SystemClock
from oellm_bench.errors import StateError
from oellm_bench.state.lease import Lease

HOLD = """
import sys, pathlib
from oellm_bench.clock import SystemClock
from oellm_bench.state.lease import Lease
Lease(pathlib.Path(sys.argv[1]), SystemClock(), length_s=600).acquire()
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "it's a session"
    folder.mkdir()
    return folder / "my.lease.json"


@pytest.fixture
def lease(path: Path) -> Lease:
    return Lease(path, SystemClock(), length_s=600)


@pytest.fixture
def other(path):
    """Yield another process that holds the lease."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_lease_is_taken_renewed_and_given_back(path, lease):
    lease.acquire()
    lease.renew()
    assert lease.holder().pid == os.getpid()
    lease.release()
    assert lease.holder() is None
    assert not path.exists()


def test_a_lease_of_a_living_process_is_refused_with_its_name(lease, other):
    with pytest.raises(StateError, match=f"process {other.pid} on "):
        lease.acquire()


def test_a_lease_of_a_killed_process_is_taken_at_once(lease, other):
    other.kill()
    other.wait(timeout=30)
    lease.acquire()
    assert lease.holder().fencing == 2


GOOD = {"host": "h", "pid": 1, "process_started_at": 1.0, "boot_id": "b", "fencing": 3, "expires_at": 1.0}
BROKEN = [
    *("", "{", "[]", "null", '"x"', "{}", '{"host": 1}', "\udcff", "[" * 100_000),
    json.dumps({**GOOD, "pid": "1"}),
    json.dumps({**GOOD, "fencing": None}),
    json.dumps({**GOOD, "more": 1}),
]


@pytest.fixture(params=BROKEN, ids=[text[:12] or "empty" for text in map(ascii, BROKEN)])
def broken(request, path):
    raw = request.param.encode(errors="surrogateescape")
    path.write_bytes(raw)
    return raw


def test_a_lease_that_cannot_be_read_is_kept_aside_and_holds_nobody_out(path, lease, broken, caplog):
    lease.acquire()
    assert lease.holder().pid == os.getpid()
    assert path.with_name(f"{path.name}.corrupt").read_bytes() == broken
    assert str(path) in caplog.text
    lease.renew()
    lease.release()


def test_looking_at_a_lease_that_cannot_be_read_finds_nobody_and_moves_nothing(path, lease, broken, caplog):
    assert lease.holder() is None
    assert path.read_bytes() == broken
    assert str(path) in caplog.text


def test_a_lease_that_became_unreadable_stops_its_holder_but_not_the_next(path, lease):
    lease.acquire()
    path.write_text("{")
    with pytest.raises(StateError, match="taken this session over"):
        lease.renew()
    lease.release()
    Lease(path, SystemClock(), length_s=600).acquire()


def test_a_holder_whose_lease_was_lost_does_not_take_the_next_ones_for_its_own(path, lease):
    lease.acquire()
    path.write_text("")
    following = Lease(path, SystemClock(), length_s=600)
    following.acquire()
    with pytest.raises(StateError, match="taken this session over"):
        lease.renew()
    following.renew()


def test_times_written_as_whole_numbers_are_read(path, lease):
    path.write_text(json.dumps({**GOOD, "expires_at": 1, "process_started_at": 1}))
    lease.acquire()
    assert lease.holder().fencing == 4


def test_a_lease_that_cannot_be_opened_is_no_free_one(path, lease):
    path.mkdir()
    with pytest.raises(StateError, match="cannot be read"):
        lease.acquire()


def test_a_holder_that_was_killed_and_not_yet_waited_for_holds_nothing(lease, other):
    os.kill(other.pid, signal.SIGKILL)
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # dead, and still in the process table
    lease.acquire()
    assert lease.holder().pid == os.getpid()


def test_what_killed_writers_have_left_goes_away(path, lease):
    (path.parent / f".{path.name}.abc123").write_text("{")
    lease.acquire()
    assert sorted(item.name for item in path.parent.iterdir()) == [path.name, path.with_suffix(".lock").name]
