"""A real SLURM cluster for tests: Debian's packages, virtual nodes on this machine, faults on request."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parent / "local-slurm.sh"
INSTALL_TIMEOUT_S, START_TIMEOUT_S = 600, 180


@dataclass(frozen=True)
class Cluster:
    """A running cluster; `environment` is what its commands need."""

    base: Path
    environment: Mapping[str, str]

    def fault(self, daemon: str, action: str) -> None:
        """Do something to a daemon: kill, term, pause, resume, start."""
        _script("fault", daemon, action, environment=self.environment)

    def command(self, *argv: str, check: bool = True) -> str:
        """Run one of SLURM's commands against this cluster and return its stdout."""
        done = subprocess.run(
            argv, env={**os.environ, **self.environment}, capture_output=True, text=True, timeout=120, check=False
        )
        if check and done.returncode != 0:
            raise AssertionError(f"{shlex.join(argv)}: {done.stdout}{done.stderr}")
        return done.stdout


def need_cluster() -> None:
    """Skip where a cluster cannot be had; under CI=true that is a failure, not a skip."""
    missing = why_no_cluster()
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"no real SLURM cluster: {missing}")
    if missing:
        pytest.skip(f"no real SLURM cluster here: {missing}")


def why_no_cluster() -> str:
    """Return why no cluster can be had here, empty where one can."""
    if os.getuid() != 0:
        return "its daemons need root"
    if not shutil.which("slurmctld", path=f"{os.environ['PATH']}:/usr/sbin:/sbin") and not shutil.which("apt-get"):
        return "SLURM is not installed, and there is no apt-get to install it with"
    return ""


@contextmanager
def running_cluster(*, accounting: bool = True, **settings: object) -> Iterator[Cluster]:
    """Start a cluster of its own for the block; `settings` are those of local-slurm.sh, without SLURM_."""
    need_cluster()
    port = _free_ports()
    base = Path(tempfile.mkdtemp(prefix="ob-slurm-"))
    environment = {"SLURM_BASE": str(base), "SLURM_BASE_PORT": str(port)}
    environment |= {f"SLURM_{name.upper()}": str(value) for name, value in settings.items()}
    _script("install", environment=environment, timeout=INSTALL_TIMEOUT_S)
    try:
        _script("start", *([] if accounting else ["--no-dbd"]), environment=environment, timeout=START_TIMEOUT_S)
        yield Cluster(base, {"SLURM_BASE": str(base), "SLURM_CONF": str(base / "etc" / "slurm.conf")})
    finally:
        _script("clean", environment=environment)
        shutil.rmtree(base, ignore_errors=True)


@contextmanager
def after(seconds: float, *call: Any) -> Iterator[None]:
    """Call a function that much later, and wait for it at the end of the block."""
    timer = threading.Timer(seconds, call[0], call[1:])
    timer.start()
    try:
        yield
    finally:
        timer.join()


def _free_ports() -> int:
    """Return the first of 64 ports that nobody listens on; the block depends on this process, so that clusters of
    tests that run side by side do not meet.
    """
    for attempt in range(200):
        first = 20000 + 64 * ((os.getpid() + 37 * attempt) % 600)
        if all(_is_free(first + offset) for offset in (*range(3), *range(10, 20))):
            return first
    raise AssertionError("no block of 64 free ports")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _script(*arguments: str, environment: Mapping[str, str], timeout: float = 120) -> None:
    done = subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(f"local-slurm.sh {' '.join(arguments)}: {done.stdout}{done.stderr}")
