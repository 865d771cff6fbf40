"""What a script leaves in place of a file never keeps the monitor waiting."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

READERS = {
    "exit.json": "from oellm_bench.fileio import read_json as read",
    "results.json": "from oellm_bench.view import read_result; read = lambda path: read_result(path, 1)",
    "stderr.log": "from oellm_bench.fileio import log_end as read",
    "stdout.log": "from oellm_bench.monitoring.log_tail import *; read = lambda path: read_new(path, Cursor())",
}
IMPOSTORS = {
    "FIFO": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "folder": lambda path: path.mkdir(),
}


@pytest.mark.parametrize("reader", READERS.values(), ids=READERS)
@pytest.mark.parametrize("impostor", IMPOSTORS.values(), ids=IMPOSTORS)
def test_what_is_no_file_is_not_waited_for(tmp_path, reader, impostor):
    impostor(tmp_path / "it")
    code = f"""
import pathlib, resource, sys
resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
{reader}
from oellm_bench.errors import StateError
try:
    print(read(pathlib.Path(sys.argv[1])))
except (OSError, StateError) as err:
    print(err)
"""
    argv = [sys.executable, "-c", code, tmp_path / "it"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False)
    assert (done.returncode, done.stderr) == (0, "")
