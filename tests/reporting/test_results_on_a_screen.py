"""The table of results on a real terminal: lines stay whole, whatever its width."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from tests.reporting.sessions import Ran, write_session

NOTE = "OutOfMemoryError: CUDA out of memory"


def on_terminal(columns: int, session: Path) -> list[str]:
    """Return the lines that `results` shows on a terminal of that width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    process = subprocess.Popen(
        [sys.executable, "-m", "oellm_bench", "results", str(session)],
        stdin=theirs,
        stdout=theirs,
        stderr=subprocess.DEVNULL,
        env={**environment, "TERM": "xterm"},
    )
    os.close(theirs)
    data = b""
    try:
        while chunk := os.read(ours, 65536):
            data += chunk
    except OSError:  # EIO: the other side has gone
        pass
    os.close(ours)
    assert process.wait(60) == 1
    return [line.rstrip() for line in re.sub(r"\x1b\[[0-9;]*m", "", data.decode()).splitlines()]


@pytest.mark.parametrize("columns", [80, 120])
def test_thirty_entries_are_a_line_each(tmp_path, columns):
    metrics = {"files_per_s": 123.456, "tokens_per_s": 1e6, "memory_in_use": 12.5, "loss_at_end": 0.25, "steps": 10}
    entries = [
        Ran(name=f"common_crawl_b{number:02}", metrics=metrics, parameters={"data.format": "parquet", "batch": 2})
        for number in range(30)
    ]
    entries[4] = Ran(name="common_crawl_b04", modes=("oom",), reason=NOTE)
    lines = on_terminal(columns, write_session(tmp_path / "s", *entries).layout.root)
    assert max(len(line) for line in lines) <= columns
    assert [line.split()[0] for line in lines[1:31]] == [entry.name for entry in entries]
    assert lines[31] == f"common_crawl_b04: {NOTE}"
    assert "no room for" in lines[32] and "steps" in " ".join(lines[32:])
    assert ("files_per_s" in lines[0]) is (columns == 120)


def test_parameters_that_are_mappings_or_long_are_left_out_and_named(tmp_path, cli):
    short = {"stage": "decay", "data": ["a", "b"], "backend.args": {"lr": 1}, "axes": [{"n": 1}], "load": "/short"}
    entries = [Ran(name="one", parameters=short), Ran(name="two", parameters={**short, "load": "/checkpoints" * 4})]
    session = str(write_session(tmp_path / "s", *entries).layout.root)
    header, *_, said = cli("results", session).stdout.splitlines()
    assert header.split()[:6] == ["entry", "result", "attempts", "exec_time_s", "stage", "data"]
    assert said == "not shown: backend.args, axes, load (--csv has them)"
    assert cli("results", session, "--csv").stdout.splitlines()[0].split(",")[4:9] == [
        *("stage", "data", "args", "axes", "load"),
    ]
