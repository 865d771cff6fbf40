"""What `ray start --block` runs on one node: a head or a worker, with its own ports and temporary files.

Only this is ever stopped: `ray stop` would end every Ray of this user on the node.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from . import processes, temporary

# A clean stop takes less than a second; where the control store died first, `ray start` would wait 30 s for it.
_GRACE_S = 8.0
_READY = b"Ray runtime started"
_POLL_S = 0.05
# A cluster that is around already must not be met: neither by address, nor by its token.
_FOREIGN = ("RAY_ADDRESS", "RAY_AUTH_TOKEN_PATH")
# Where Ray waits for longer than there is something to wait for (2.60); what the job has set goes before.
_WAITS = {
    # The raylet connects to its object store, which a thread of its own has just begun to start. Where that is not
    # there yet, the raylet sleeps, a second if not told otherwise, which half of all starts pay. 10 s in all, as ever.
    "RAY_raylet_client_connect_timeout_milliseconds": "50",
    "RAY_raylet_client_num_connect_attempts": "200",
    # On TERM the node is drained, for up to 30 s, so that Ray Serve can move elsewhere. Here the command is over.
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
}


class StartFailed(Exception):
    """Ray did not come up; the text is the reason."""


class Stopped(Exception):
    """TERM or INT came before the command was started."""


class RayNode:
    """Ray on this node, from its start on. `role`: the arguments that make it a head or a worker."""

    def __init__(self, spec: dict[str, Any], role: list[str], *, token: str, log: Path) -> None:
        self._timeout_s = float(spec["ray"]["startup_timeout_s"])
        self.token = token
        self._log = log
        try:
            self.temp_dir = temporary.make()
            self._spill_dir = _spill_dir(spec["ray"]["spill_dir"])
        except OSError as err:
            raise StartFailed(str(err)) from err
        spilling = [f"--object-spilling-directory={self._spill_dir}"] if self._spill_dir else []
        argv = _argv(spec["ray"], [*role, f"--temp-dir={self.temp_dir}", *spilling])
        environment = {**_WAITS, **self.environment()}
        if not spec["ray"]["object_spilling"]:
            environment["RAY_automatic_object_spilling_enabled"] = "0"
        try:
            with log.open("ab") as stream:
                self._log_start = stream.tell()
                # It must not outlive us, not even when we are killed; its daemons share its fate.
                self.process = processes.popen(argv, environment, stdout=stream, dies_with_us=True)
        except OSError as err:
            self._remove_folders()
            raise StartFailed(f"{err.filename or argv[0]}: {err.strerror}") from err

    def environment(self, **more: str) -> dict[str, str]:
        """Return this process's environment with the token of this cluster in place of any other's."""
        return {**without_foreign(os.environ), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token, **more}

    def wait_until_ready(self) -> None:
        """Return once Ray says that it runs. Raises StartFailed with the reason, Stopped on TERM or INT."""
        deadline = time.monotonic() + self._timeout_s
        while not self.is_ready():
            if self.process.poll() is not None:
                raise StartFailed(f"`ray start` ended with {self.process.returncode}: {self.last_line()}")
            if time.monotonic() > deadline:
                raise StartFailed(f"not ready after {self._timeout_s:g} s: {self.last_line()}")
            wait_a_moment()

    def is_ready(self) -> bool:
        """Tell whether Ray has said so."""
        return _READY in self._output()

    def end(self) -> str:
        """Return how it has ended, empty while it runs; once it was reaped."""
        return "" if self.process.returncode is None else f"with {self.process.returncode}"

    def stop(self, logs_path: Path, *, at_once: bool = False) -> None:
        """End this and nothing else, keep the logs, remove the folder; `at_once` where we are killed soon."""
        if self.process.poll() is None and not at_once:
            self.process.terminate()
            processes.wait(self.process, _GRACE_S)
        processes.end(grace_s=0)
        processes.reap(self.process)
        for session in self.temp_dir.glob("session_*_*"):
            try:
                shutil.copytree(session / "logs", logs_path / session.name, dirs_exist_ok=True)
            except OSError as err:
                processes.say(f"not all of Ray's logs could be kept in {logs_path} ({err!s:.300})")
        self._remove_folders()

    def last_line(self) -> str:
        """Return the last line that Ray wrote."""
        lines = self._output().decode("utf-8", "replace").strip().splitlines()
        return lines[-1].strip()[:300] if lines else "it wrote nothing"

    def _remove_folders(self) -> None:
        for folder in filter(None, (self.temp_dir, self._spill_dir)):
            shutil.rmtree(folder, ignore_errors=True)

    def _output(self) -> bytes:
        with self._log.open("rb") as stream:
            stream.seek(self._log_start)  # what earlier starts wrote is not this one's
            return stream.read()


def without_foreign(environment: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which no cluster is named."""
    return {name: value for name, value in environment.items() if name not in _FOREIGN}


def wait_a_moment(pause_s: float = _POLL_S) -> None:
    """Wait a little. Raises Stopped on TERM or INT."""
    if processes.next_signal(pause_s) in processes.STOP:
        raise Stopped


def _spill_dir(root: str) -> Path | None:
    """Return a new folder for this node's objects below the one that was named. Raises OSError."""
    if not root:
        return None
    Path(root).mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix="obr-spill-", dir=root))


def _argv(ray: dict[str, Any], role: list[str]) -> list[str]:
    beside = Path(sys.executable).with_name("ray")
    return [
        ray["executable"] or (str(beside) if beside.exists() else "ray"),
        *("start", "--block", "--disable-usage-stats", *role),
        # Port 0: the process that listens picks a free one itself, so that no two can meet. What is not named
        # here is picked so by default (Ray 2.60).
        "--dashboard-agent-listen-port=0",
        *(f"--num-cpus={ray['num_cpus']}", f"--num-gpus={ray['num_gpus']}"),
        *([f"--object-store-memory={ray['object_store_bytes']}"] if ray["object_store_bytes"] else []),
    ]
