"""A later attempt goes on from the newest checkpoint that is whole; the first one begins anew."""

from __future__ import annotations

import json
import os
import struct
import sys
import threading
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from live_job import Job

from oellm_bench.core.resume import Resume
from oellm_bench.job.resuming import newest_checkpoint

SHOW = (sys.executable, "-c", "import sys; print(sys.argv[1:])")


def folder_at(path: Path, when: float, *names: str) -> Path:
    path.mkdir(parents=True)
    for name in names:
        (path / name).write_bytes(b"x")
    os.utime(path, (when, when))
    return path


def file_at(path: Path, when: float, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (when, when))
    return path


def zipped(path: Path) -> bytes:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", b"0" * 1000)
    return path.read_bytes()


def safetensors(size: int = 16) -> bytes:
    header = json.dumps({"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, size]}}).encode()
    return struct.pack("<Q", len(header)) + header + b"\0" * size


def test_the_first_attempt_begins_anew_and_the_next_goes_on_from_the_newest(job: Job) -> None:
    for number, when in ((100, 1000.0), (900, 2000.0), (1000, 3000.0)):
        folder_at(job.folder.root / "checkpoints" / f"iter_{number}", when, "meta.json")
    folder_at(job.folder.root / "checkpoints" / "iter_1100", 4000.0, "half.bin")
    pattern = str(job.folder.root / "checkpoints" / "iter_*")
    job.plan(*SHOW, resume=Resume(pattern=pattern, complete="meta.json", arguments=("--load", "{checkpoint}")))
    job.run("--attempt", "1")
    assert job.attempt(1).stdout.read_text().strip() == "[]"
    done = job.run("--attempt", "2")
    newest = str(job.folder.root / "checkpoints" / "iter_1000")
    assert job.attempt(2).stdout.read_text().strip() == repr(["--load", newest])
    assert job.result().resumed_from == newest
    assert "resumes from" in done.stdout


def test_an_incarnation_after_a_requeue_goes_on_too(job: Job) -> None:
    checkpoint = file_at(job.folder.root / "last.ckpt", 1000.0)
    code = "import os, sys; print(sys.argv[1:], os.environ.get('OELLM_BENCH_CHECKPOINT'))"
    job.plan(sys.executable, "-c", code, resume=Resume(pattern=str(checkpoint), arguments=("{checkpoint}",)))
    job.run("--attempt", "1", SLURM_RESTART_COUNT="1")
    assert job.attempt(1).stdout.read_text().strip() == f"{[str(checkpoint)]} {checkpoint}"


def test_without_a_checkpoint_a_restart_begins_anew(job: Job) -> None:
    job.plan(*SHOW, resume=Resume(pattern=str(job.folder.root / "*.ckpt"), arguments=("--load", "{checkpoint}")))
    job.run("--attempt", "2")
    assert job.attempt(2).stdout.read_text().strip() == "[]"
    assert job.result().resumed_from == ""


@pytest.mark.parametrize("kind", ["empty", "cut zip", "cut safetensors", "no safetensors", "empty folder"])
def test_what_was_being_written_when_the_attempt_was_killed_is_passed_over(tmp_path: Path, kind: str) -> None:
    good = file_at(tmp_path / "step_1.pt", 1000.0, zipped(tmp_path / "whole.zip"))
    late = tmp_path / ("step_2.safetensors" if "safetensors" in kind else "step_2.pt")
    if kind == "empty folder":
        folder_at(late, 2000.0)
    else:
        content = {
            "empty": b"",
            "cut zip": good.read_bytes()[:-30],
            "cut safetensors": safetensors()[:-1],
            "no safetensors": b"\xff" * 40,
        }[kind]
        file_at(late, 2000.0, content)
    assert newest_checkpoint(Resume(pattern=str(tmp_path / "step_*"))) == str(good)


def test_whole_files_of_known_and_unknown_kinds_are_taken(tmp_path: Path) -> None:
    for number, (suffix, content) in enumerate(
        [(".safetensors", safetensors()), (".bin", b"anything"), (".pt", zipped(tmp_path / "whole.zip"))]
    ):
        path = file_at(tmp_path / f"step_{number}{suffix}", 1000.0 + number, content)
        assert newest_checkpoint(Resume(pattern=str(tmp_path / "step_*"))) == str(path)


def test_of_two_written_at_the_same_time_the_higher_number_is_the_newer(tmp_path: Path) -> None:
    for number in (9, 10):
        file_at(tmp_path / f"step_{number}", 1000.0)
    assert newest_checkpoint(Resume(pattern=str(tmp_path / "step_*"))) == str(tmp_path / "step_10")


TRACKED = "latest_checkpointed_iteration.txt"


def tracked(root: Path, iterations: dict[int, bool], tracker: str | None) -> Resume:
    """Make checkpoints as Megatron-LM does: whole ones have `.metadata`, and the tracker names the newest."""
    for place, (number, whole) in enumerate(iterations.items()):
        folder_at(root / f"iter_{number:07d}", 1000.0 + place, "common.pt", *([".metadata"] if whole else []))
    if tracker is not None:
        file_at(root / TRACKED, 1.0, tracker.encode())
    step = "--ckpt-step={checkpoint_iteration}"
    return Resume(pattern=str(root / "iter_*"), complete=".metadata", tracker=TRACKED, arguments=("--load", step))


@pytest.mark.parametrize(
    ("iterations", "tracker", "newest"),
    [
        ({100: True, 200: True}, "200", 200),
        ({200: True, 100: True}, "200", 200),  # the tracker's word counts, not which folder was touched last
        ({100: True, 200: True, 300: True}, "200", 200),  # 300 has files of all kinds, and was not finished
        ({100: True, 200: False}, "200\n", 100),  # it was taken away, or the disk lost it
        ({100: True}, "200", 100),
        ({100: True}, None, None),
        ({100: True}, "", None),
        ({100: True}, "release", None),
        ({100: False}, "100", None),
    ],
)
def test_where_a_tracker_says_which_one_is_whole_it_is_believed(
    tmp_path: Path, iterations: dict[int, bool], tracker: str | None, newest: int | None
) -> None:
    resume = tracked(tmp_path, iterations, tracker)
    expected = "" if newest is None else str(tmp_path / f"iter_{newest:07d}")
    assert newest_checkpoint(resume) == expected
    if newest is not None:
        assert resume.arguments_for(expected) == ("--load", f"--ckpt-step={newest}")


def test_a_tracker_that_is_no_file_holds_nothing_up(tmp_path: Path) -> None:
    resume = tracked(tmp_path, {100: True}, None)
    os.mkfifo(tmp_path / TRACKED)
    found: list[str] = []
    reader = threading.Thread(target=lambda: found.append(newest_checkpoint(resume)), daemon=True)
    reader.start()
    reader.join(10)
    assert found == [""]


def test_of_a_huge_tracker_only_the_beginning_is_read(tmp_path: Path) -> None:
    resume = tracked(tmp_path, {100: True}, "")
    os.truncate(tmp_path / TRACKED, 64 << 20)  # no byte of it is on the disk
    tracemalloc.start()
    try:
        assert newest_checkpoint(resume) == ""
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 1 << 20


def test_what_held_for_the_beginning_is_left_out_when_it_goes_on(job: Job) -> None:
    root = job.folder.root / "checkpoints"
    resume = replace(tracked(root, {100: True}, "100"), without=("--finetune", "--load=/base"))
    job.plan(*SHOW, "--finetune", "--load=/base", "--lr=1", resume=resume)
    job.run("--attempt", "1")
    assert job.attempt(1).stdout.read_text().strip() == repr(["--finetune", "--load=/base", "--lr=1"])
    job.run("--attempt", "2")
    assert job.attempt(2).stdout.read_text().strip() == repr(["--lr=1", "--load", "--ckpt-step=100"])
    assert job.result().resumed_from == str(root / "iter_0000100")
