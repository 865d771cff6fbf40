"""Find out what is installed for the command's Python, where the command runs: in its container."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from oellm_bench import proctree
from oellm_bench.fileio import atomic_write_json, atomic_write_text
from oellm_bench.observer.kept import Kept
from oellm_bench.observer.task import Task

_NOT_OF_PYTHON = ("packages", "conda", "watched", "read_at_ns")


class Installed:
    """A run of the payload's `packages` in the background, or what one of another entry said; files made of that."""

    def __init__(self, task: Task) -> None:
        self._artifacts = Path(task.artifacts)
        self._output = tempfile.TemporaryFile()
        self._process: subprocess.Popen[bytes] | None = None
        self._kept: Kept | None = None
        if not task.packages_argv:
            return
        environment = {**os.environ, **task.packages_environment}
        if task.packages_kept:
            self._kept = Kept(Path(task.packages_kept), task.packages_argv, environment, task.cwd)
            found = self._kept.read()
            if found is not None:
                self._write(found)
                return
        try:
            self._process = subprocess.Popen(
                task.packages_argv,
                env=environment,
                cwd=task.cwd,
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.DEVNULL,
                preexec_fn=_end_with_us,
            )
        except OSError as err:
            self._write({"error": f"{task.packages_argv[0]}: {err.strerror}"})

    @property
    def is_running(self) -> bool:
        """Whether it is not over yet."""
        return self._process is not None

    def look(self, *, limit_s: float) -> None:
        """Write the lists if they are there; give up at `limit_s` zero and below."""
        if self._process is None:
            return
        if self._process.poll() is None:
            if limit_s > 0:
                return
            proctree.kill_descendants(os.getpid(), grace_s=0)
            self._process.wait()
        self._process = None
        self._output.seek(0)
        document = _document(self._output.read())
        self._write(document)
        if self._kept is not None:
            self._kept.write(document)

    def finish(self, limit_s: float) -> None:
        """Wait for the lists."""
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(limit_s)
            self.look(limit_s=0)

    def _write(self, document: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            for key, name, head in (("packages", "pip-freeze.txt", ""), ("conda", "conda-explicit.txt", "@EXPLICIT\n")):
                if document.get(key):
                    atomic_write_text(self._artifacts / name, head + "\n".join(document[key]) + "\n")
            about = {key: value for key, value in document.items() if key not in _NOT_OF_PYTHON}
            atomic_write_json(self._artifacts / "python.json", about)


def _end_with_us() -> None:
    """Have TERM end this process where we are killed; whoever started us may have had it blocked."""
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    proctree.die_with_parent(signal.SIGTERM)


def _document(output: bytes) -> dict[str, Any]:
    """Return the first document in the output: srun may have run several."""
    for line in output.splitlines():
        with contextlib.suppress(ValueError):
            document = json.loads(line)
            if isinstance(document, dict):
                return document
    return {"error": "there is no Python to be asked"}
