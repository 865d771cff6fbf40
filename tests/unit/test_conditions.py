"""Start and cancel conditions: what holds, what does not, and what never will."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from oellm_bench.builtins import load_all
from oellm_bench.conditions.base import Condition, Facts
from oellm_bench.config.schema import MonitoringConfig
from oellm_bench.config.typing import parse
from oellm_bench.gates import CommandPool

load_all()
PROGRESS = {"done": "succeeded", "broken": "failed", "busy": "started", "new": "waiting"}


def made(**document) -> Condition:
    (config,) = parse(MonitoringConfig, {"start_conditions": [document]}).start_conditions
    return config.instantiate(Condition)


def check(folder, *, waiting_s=10.0, running_s=None, pool=None, **document):
    pool = pool or CommandPool()
    pool.begin()
    facts = Facts(
        lookup={"dir": str(folder)}.get,
        folder=folder,
        signals=lambda name, signal: 0,
        progress=PROGRESS.get,
        run=pool.run,
        waiting_s=waiting_s,
        running_s=running_s,
    )
    return made(**document).check(facts)


@pytest.mark.parametrize(
    ("document", "holds"),
    [
        ({"class_name": "FileExistsCondition", "path": "{dir}/some.txt"}, True),
        ({"class_name": "FileExistsCondition", "path": "{dir}"}, True),
        ({"class_name": "FileExistsCondition", "path": "some.txt"}, True),
        ({"class_name": "GlobExistsCondition", "pattern": "*.txt"}, True),
        ({"class_name": "FileExistsCondition", "path": "{dir}/other.txt"}, False),
        ({"class_name": "FileExistsCondition", "path": "{dir}/some.txt", "min_bytes": 6}, True),
        ({"class_name": "FileExistsCondition", "path": "{dir}/some.txt", "min_bytes": 7}, False),
        ({"class_name": "GlobExistsCondition", "pattern": "{dir}/*.txt"}, True),
        ({"class_name": "GlobExistsCondition", "pattern": "{dir}/*.txt", "min_matches": 2}, False),
        ({"class_name": "GlobExistsCondition", "pattern": "{dir}/**/*.pt", "min_matches": 2}, True),
        ({"class_name": "FileContentCondition", "path": "{dir}/some.txt", "contains": "ready"}, True),
        ({"class_name": "FileContentCondition", "path": "{dir}/some.txt", "contains": "r.ady"}, False),
        ({"class_name": "FileContentCondition", "path": "{dir}/some.txt", "pattern": "^r.{1}ady$"}, True),
        ({"class_name": "FileContentCondition", "path": "{dir}/other.txt", "contains": "ready"}, False),
        ({"class_name": "FileContentCondition", "path": "{dir}", "contains": "ready"}, False),
        ({"class_name": "EntryStateCondition", "entry": "done"}, True),
        ({"class_name": "EntryStateCondition", "entry": "busy"}, False),
        ({"class_name": "EntryStateCondition", "entry": "busy", "state": "started"}, True),
        ({"class_name": "EntryStateCondition", "entry": "new", "state": "started"}, False),
        ({"class_name": "EntryStateCondition", "entry": "broken", "state": "failed"}, True),
        ({"class_name": "EntryStateCondition", "entry": "broken", "state": "over"}, True),
        ({"class_name": "ElapsedCondition", "seconds": 10}, True),
        ({"class_name": "ElapsedCondition", "seconds": 11}, False),
        ({"class_name": "ElapsedCondition", "seconds": 1, "of": "running"}, False),
    ],
)
def test_a_condition_holds_or_not(tmp_path, document, holds):
    (tmp_path / "some.txt").write_text("ready\n")
    for name in ("a/1.pt", "b/2.pt"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    finding = check(tmp_path, **document)
    assert finding.holds is holds and not finding.never and finding.reason
    opposite = check(tmp_path, running_s=None, class_name="NotCondition", condition=document)
    assert opposite.holds is not holds


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    finding = check(tmp_path, class_name="FileContentCondition", path="pipe", contains="x")
    assert not finding.holds and "is no file" in finding.reason


def test_brackets_in_a_folder_are_no_pattern(tmp_path):
    folder = tmp_path / "br[1]"
    folder.mkdir()
    (folder / "1.pt").touch()
    assert check(folder, class_name="GlobExistsCondition", pattern="*.pt").holds
    assert check(folder, class_name="GlobExistsCondition", pattern="{dir}/*.pt").holds


def test_only_the_end_of_a_large_file_is_read(tmp_path):
    (tmp_path / "some.txt").write_bytes(b"early\n" + b"x" * 2_000_000 + b"\nlate\n")
    content = {"class_name": "FileContentCondition", "path": "{dir}/some.txt"}
    assert not check(tmp_path, **content, contains="early").holds
    assert check(tmp_path, **content, contains="late").holds


@pytest.mark.parametrize(("entry", "state"), [("broken", "succeeded"), ("done", "failed"), ("unknown", "over")])
def test_what_can_never_hold_says_so(tmp_path, entry, state):
    finding = check(tmp_path, class_name="EntryStateCondition", entry=entry, state=state)
    assert finding.never and not finding.holds


DONE = {"class_name": "EntryStateCondition", "entry": "done"}
BUSY = {"class_name": "EntryStateCondition", "entry": "busy"}
BROKEN = {"class_name": "EntryStateCondition", "entry": "broken"}


def test_what_is_not_known_yet_is_neither_yes_nor_no(tmp_path):
    running = {"class_name": "CommandCondition", "command": ["sleep", "60"]}
    pool = CommandPool()
    for document in (
        running,
        {"class_name": "NotCondition", "condition": running},
        {"class_name": "OrCondition", "conditions": [BUSY, running]},
        {"class_name": "AndCondition", "conditions": [DONE, {"class_name": "NotCondition", "condition": running}]},
    ):
        finding = check(tmp_path, pool=pool, **document)
        assert not finding.is_known and not finding.is_final
    assert check(tmp_path, pool=pool, class_name="AndCondition", conditions=[running, BROKEN]).never
    pool.close()


def test_a_command_that_nobody_asks_for_any_more_is_ended(tmp_path):
    pool = CommandPool()
    line = f"echo $$ >{tmp_path}/pid; exec sleep 60"
    check(tmp_path, pool=pool, class_name="CommandCondition", command=line)
    assert not pool.has_answered
    deadline = time.monotonic() + 30
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text().strip():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert is_alive((tmp_path / "pid").read_text().strip())
    pool.begin()  # a look in which it is asked for, and one in which it is not
    assert pool.has_answered
    pool.begin()
    wait_until_gone((tmp_path / "pid").read_text().strip())


@pytest.mark.parametrize(
    ("kind", "parts", "holds", "never"),
    [
        ("AndCondition", [DONE, DONE], True, False),
        ("AndCondition", [DONE, BUSY], False, False),
        ("AndCondition", [BROKEN, DONE], False, True),
        ("AndCondition", [BUSY, BROKEN], False, True),
        ("AndCondition", [DONE, {"class_name": "NotCondition", "condition": DONE}], False, True),
        ("OrCondition", [BUSY, DONE], True, False),
        ("OrCondition", [BROKEN, BUSY], False, False),
        ("OrCondition", [BROKEN, BROKEN], False, True),
    ],
)
def test_conditions_of_conditions(tmp_path, kind, parts, holds, never):
    finding = check(tmp_path, class_name=kind, conditions=parts)
    assert (finding.holds, finding.never) == (holds, never)


def settled(folder, pool, **document):
    """Ask until the command has ended, within half a minute."""
    deadline = time.monotonic() + 30
    finding = check(folder, pool=pool, **document)
    while "running" in finding.reason and time.monotonic() < deadline:
        time.sleep(0.02)
        finding = check(folder, pool=pool, **document)
    return finding


@pytest.mark.parametrize(
    ("command", "holds", "reason"),
    [
        (["true"], True, "exited with 0"),
        ("test -d {dir}", True, "exited with 0"),
        ("test -e relative", True, "exited with 0"),
        ("sh -c 'exit 3'", False, "exited with 3"),
        (["no-such-program"], False, "exited with 127"),
        (["echo", "$(touch x)"], True, "exited with 0"),
    ],
)
def test_a_command_is_run_beside_the_caller(tmp_path, command, holds, reason):
    (tmp_path / "relative").touch()
    finding = settled(tmp_path, CommandPool(), class_name="CommandCondition", command=command)
    assert finding.holds is holds and reason in finding.reason


def test_a_command_that_takes_too_long_is_ended_with_all_it_started(tmp_path):
    document = {"class_name": "CommandCondition", "command": f"sleep 60 & echo $! >{tmp_path}/pid; wait"}
    pool = CommandPool()
    finding = settled(tmp_path, pool, **document, timeout_s=0.3)
    assert "took more than 0.3 s" in finding.reason and pool.has_answered
    wait_until_gone((tmp_path / "pid").read_text().strip())


def wait_until_gone(pid):
    """KILL has been sent; the kernel takes its time to carry it out."""
    deadline = time.monotonic() + 10
    while is_alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_alive(pid):
    try:
        with Path(f"/proc/{pid}/stat").open() as stream:
            return stream.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def test_a_command_is_not_run_again_before_its_time(tmp_path):
    pool, line = CommandPool(), f"sh -c 'echo x >>{tmp_path}/runs'"
    for _ in range(3):
        settled(tmp_path, pool, class_name="CommandCondition", command=line, every_s=600)
    assert (tmp_path / "runs").read_text() == "x\n"
    settled(tmp_path, pool, class_name="CommandCondition", command=line, every_s=0)
    deadline = time.monotonic() + 30
    while (tmp_path / "runs").read_text() == "x\n" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert (tmp_path / "runs").read_text() == "x\nx\n"
    pool.close()
