"""Files that are whole or absent, and what is said where they cannot be written."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from oellm_bench.errors import StateError
from oellm_bench.fileio import atomic_write_json, atomic_write_text, file_lock, quarantine, read_json


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    """Return a path that nobody can write to, root included: it leads through a regular file."""
    (tmp_path / "it's a file").write_text("in the way")
    return tmp_path / "it's a file" / "state.json"


def lock(path: Path) -> None:
    with file_lock(path):
        pass


@pytest.mark.parametrize(
    "write",
    [
        pytest.param(lambda path: atomic_write_text(path, "x"), id="text"),
        pytest.param(lambda path: atomic_write_json(path, {}), id="JSON"),
        pytest.param(lock, id="lock"),
    ],
)
@pytest.mark.parametrize("error", [StateError, OSError])
def test_a_file_that_cannot_be_written_is_named_with_what_to_do(blocked, write, error):
    with pytest.raises(error) as caught:
        write(blocked)
    assert str(caught.value) == (
        f"{blocked} cannot be written (Not a directory); see that its folder is there and writable, then try again"
    )


@pytest.mark.parametrize("there", [True, False], ids=["replaced", "new"])
def test_a_full_disk_leaves_what_was_there_and_nothing_else(tmp_path, there):
    path = tmp_path / "state.json"
    if there:
        path.write_text("before")
    code = "import sys, pathlib, oellm_bench.fileio as f; f.atomic_write_text(pathlib.Path(sys.argv[1]), 'x' * 9999)"
    limited = 'ulimit -f 1; trap "" XFSZ; exec "$@"'
    done = subprocess.run(
        ["bash", "-c", limited, "bash", sys.executable, "-B", "-c", code, str(path)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    last = done.stderr.splitlines()[-1]
    assert last.endswith(
        f"WriteError: {path} cannot be written (File too large); free some space there, then try again"
    )
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("state.json", "before")] * there


def test_an_error_of_the_locked_block_stays_what_it_was(tmp_path):
    with pytest.raises(FileNotFoundError), file_lock(tmp_path / "a.lock"):
        (tmp_path / "absent").read_text()


def test_a_lock_is_free_again_after_an_error(tmp_path):
    with pytest.raises(ValueError, match="inside"), file_lock(tmp_path / "a.lock"):
        raise ValueError("inside")
    with file_lock(tmp_path / "a.lock"):
        assert (tmp_path / "a.lock").exists()


def test_a_file_that_cannot_be_set_aside_is_named():
    with pytest.raises(StateError, match=r"/proc/version\.corrupt cannot be written"):
        quarantine(Path("/proc/version"))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000])
def test_a_file_that_is_no_json_is_named(tmp_path, text):
    path = tmp_path / "it's.json"
    path.write_text(text)
    with pytest.raises(StateError, match="is not valid JSON") as caught:
        read_json(path)
    assert str(path) in str(caught.value)
