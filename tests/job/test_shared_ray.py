"""One head for all entries of a session: who starts it, who uses it, and what ends it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from live_job import MARK, Job, command_of, wait_for
from stand_in_ray import HEAD, starts

from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.plan import read_plan
from oellm_bench.core.resources import RayHead
from oellm_bench.payload.shared import connect
from oellm_bench.shared_ray import SharedRay, largest

STAYS = HEAD + "exec sleep 600"
UNTIL_GO = 'echo up; while [ ! -e "$OELLM_BENCH_SCRATCH/go" ]; do sleep 0.05; done'
# A program that submits, and says so when it is connected.
DRIVER = """
import sys, time
from pathlib import Path
from oellm_bench.payload.shared import connect
held = connect(Path(sys.argv[1]))
print("up" if held else "nobody", flush=True)
time.sleep(600)
"""


@pytest.fixture
def shared(job: Job, stand_in: Callable[..., RayHead], monkeypatch: pytest.MonkeyPatch) -> Iterator[SharedRay]:
    """A session whose entries share a head, and the hold of the program that submits them."""
    job.plan("sh", "-c", "echo $RAY_ADDRESS $RAY_AUTH_TOKEN", ray=stand_in(STAYS, reuse=True))
    monkeypatch.setenv(MARK, job.mark)
    held = SharedRay(SessionLayout(job.session), read_plan(job.session / "sweep.json"))
    yield held
    held.end()
    wait_for(lambda: not job.processes(), "the end of the head")


def head_of(job: Job) -> RayHead:
    [entry] = read_plan(job.session / "sweep.json").entries
    return entry.ray


def keeper(job: Job) -> int:
    [found] = [pid for pid in job.processes() if b"oellm_bench.payload keep" in command_of(pid)]
    return found


def process_of_head(job: Job) -> int:
    [found] = [
        pid for pid in job.processes() if command_of(pid).startswith(b"sleep 600") and parent(pid) == keeper(job)
    ]
    return found


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])


def begin(job: Job, *, linger_s: float) -> None:
    """Start what keeps the head by hand, with nobody who submits."""
    spec = job.session / "ray" / "spec.json"
    document = json.loads(spec.read_text())
    spec.write_text(json.dumps({**document, "linger_s": linger_s}))
    subprocess.run([sys.executable, "-m", "oellm_bench.payload", "keep", str(spec)], check=True, timeout=60)


@pytest.fixture
def unattended(job: Job, shared: SharedRay) -> Job:
    """A session that was begun, and whose keeper has ended with its program."""
    shared.ensure()
    shared.end()
    wait_for(lambda: not job.processes(), "the end of who kept the head")
    return job


def test_entries_use_one_head_that_ends_with_the_session(job: Job, shared: SharedRay) -> None:
    shared.ensure()
    shared.ensure()
    assert [job.run().returncode, job.run().returncode] == [0, 0]
    first, second = (job.attempt(number).stdout.read_text() for number in (1, 2))
    assert first == second and first.startswith("192.0.2.1:6400 ")
    assert len(starts(head_of(job))) == 1
    token = first.split()[1]
    told = [path for path in job.session.rglob("*") if path.is_file() and token in path.read_text(errors="replace")]
    assert all(path.name == "stdout.log" for path in told)  # where the command itself has written it
    shared.end()
    wait_for(lambda: not job.processes(), "the end of who kept the head")
    assert [path.read_text() for path in (job.session / "ray" / "logs").rglob("raylet.out")] == ["text\n"]


def test_no_head_is_started_for_nobody(job: Job, shared: SharedRay) -> None:
    shared.ensure()
    shared.end()
    assert not Path(f"{head_of(job).executable}.starts").exists()


def test_only_the_owner_can_ask_for_the_token(job: Job, shared: SharedRay) -> None:
    shared.ensure()
    socket = SessionLayout(job.session).ray_socket
    assert (socket.stat().st_mode & 0o077, socket.parent.stat().st_mode & 0o077) == (0, 0)


def test_a_head_that_has_died_between_two_entries_is_started_anew(job: Job, shared: SharedRay) -> None:
    shared.ensure()
    assert job.run().returncode == 0
    os.kill(process_of_head(job), signal.SIGKILL)
    assert job.run().returncode == 0
    assert len(starts(head_of(job))) == 2


def test_a_head_that_dies_under_an_entry_is_said(job: Job, shared: SharedRay) -> None:
    job.plan("sh", "-c", f"{UNTIL_GO}; exit 3", ray=head_of(job))
    shared.ensure()
    process = job.start()
    job.wait_for_output("up")
    os.kill(process_of_head(job), signal.SIGKILL)
    # The keeper has seen it once the head's folder is gone.
    wait_for(lambda: list((job.session / "ray" / "logs").rglob("raylet.out")), "the head's logs")
    (job.folder.scratch / "go").touch()
    process.communicate(timeout=60)
    assert "the Ray head ended with -9 before the command did" in job.result().reason


def test_who_keeps_the_head_is_started_again_where_it_was_killed(job: Job, shared: SharedRay) -> None:
    program = Path(head_of(job).executable)
    program.write_text(program.read_text().replace("setsid sleep 600 &", ""))  # Ray's daemons end with it
    shared.ensure()
    assert job.run().returncode == 0
    os.kill(keeper(job), signal.SIGKILL)
    wait_for(lambda: shared.ensure() or len(starts(head_of(job))) == 1, "another keeper")
    assert job.run().returncode == 0
    assert len(starts(head_of(job))) == 2


def test_an_entry_without_anybody_who_keeps_a_head_starts_its_own(unattended: Job) -> None:
    assert unattended.run().returncode == 0
    assert "this entry starts its own" in unattended.attempt().stderr.read_text()
    assert unattended.processes() == []


def test_a_head_that_does_not_come_up_fails_the_entry_with_the_reason(
    job: Job, stand_in: Callable[..., RayHead], tmp_path: Path, shared: SharedRay
) -> None:
    Path(head_of(job).executable).write_text("#!/bin/sh\necho no memory; exit 7\n")
    shared.ensure()
    assert job.run().returncode == 90
    assert job.result().error_mode == "ray_start_failed"
    assert "no memory" in job.result().reason


def test_the_head_goes_when_the_program_that_submits_was_killed(unattended: Job) -> None:
    begin(unattended, linger_s=0.3)
    socket = str(SessionLayout(unattended.session).ray_socket)
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, socket], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None and driver.stdout.readline() == "up\n"
    assert unattended.run().returncode == 0
    assert keeper(unattended)
    driver.kill()
    driver.communicate()
    wait_for(lambda: not unattended.processes(), "the end of head and keeper")


def test_the_head_stays_under_an_entry_that_runs_on_without_the_program_that_submits(unattended: Job) -> None:
    unattended.plan("sh", "-c", UNTIL_GO, ray=head_of(unattended))
    begin(unattended, linger_s=30)
    process = unattended.start()
    unattended.wait_for_output("up")
    (unattended.session / "journal.jsonl").write_text("")  # the session is over, and this entry is not
    another = connect(SessionLayout(unattended.session).ray_socket)
    assert another is not None
    another.sendall(b"entry\n")
    assert b"192.0.2.1:6400" in another.recv(4096)  # it has looked since, and stayed
    another.close()
    (unattended.folder.scratch / "go").touch()
    process.communicate(timeout=60)
    assert unattended.result().success and unattended.result().reason == ""
    wait_for(lambda: not unattended.processes(), "the end of head and keeper")


def test_the_head_is_sized_for_the_largest() -> None:
    heads = [
        RayHead(num_cpus=2, num_gpus=1, object_store_bytes=10, object_spilling=False),
        RayHead(num_cpus=0, num_gpus=0, object_store_bytes=30, object_spilling=True),
    ]
    found = largest(heads, {"SLURM_CPUS_PER_TASK": "7"})
    assert [found[name] for name in ("num_cpus", "num_gpus", "object_store_bytes", "object_spilling")] == [
        7,
        1,
        30,
        True,
    ]
    assert largest([*heads, RayHead(object_store_bytes=0)], {})["object_store_bytes"] == 0  # as Ray chooses
