"""Have one Ray head kept for all entries of a session, as long as there is somebody to submit them."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.plan import Plan
from oellm_bench.core.resources import RayHead
from oellm_bench.fileio import atomic_write_json
from oellm_bench.job.attempt import ray_settings
from oellm_bench.payload.shared import connect

LINGER_S = 60.0  # with nobody left to submit entries: time to start `monitor` again before the head is gone
_START_LIMIT_S, _STOP_LIMIT_S = 30.0, 60.0
_LARGEST = ("num_cpus", "num_gpus", "startup_timeout_s", "start_attempts")
_log = logging.getLogger(__name__)


class SharedRay:
    """This process's hold on who keeps the head; nothing where no entry wants to share one."""

    def __init__(self, layout: SessionLayout, plan: Plan) -> None:
        self._layout = layout
        self._heads = [entry.ray for entry in plan.entries if entry.ray.enabled and entry.ray.reuse]
        self._connection: socket.socket | None = None

    def ensure(self) -> None:
        """See to it that somebody keeps the head; where that cannot be, entries start heads of their own."""
        if not self._heads or self._is_connected():
            return
        self.let_go()
        self._connection = connect(self._layout.ray_socket)
        if self._connection is None:
            try:
                self._start()
            except (OSError, subprocess.SubprocessError) as err:
                _log.warning("nobody keeps a Ray head for all entries, each starts its own: %s", err)
                return
            self._connection = connect(self._layout.ray_socket)

    def end(self) -> None:
        """Have the head ended, and wait until it is; entries that still use it are waited for by its keeper."""
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.sendall(b"end\n")
                self._connection.settimeout(_STOP_LIMIT_S)
                self._connection.recv(1)
        self.let_go()

    def let_go(self) -> None:
        """Leave the head to others."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _is_connected(self) -> bool:
        if self._connection is None:
            return False
        try:
            return bool(self._connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
        except BlockingIOError:
            return True
        except OSError:
            return False

    def _start(self) -> None:
        """Start the keeper, which returns once it can be connected to. Raises OSError, SubprocessError."""
        folder = self._layout.ray
        folder.mkdir(mode=0o700, exist_ok=True)
        spec = folder / "spec.json"
        atomic_write_json(spec, self._spec(os.environ))
        with (folder / "keeper.log").open("ab") as log:
            subprocess.run(
                [sys.executable, "-P", "-m", "oellm_bench.payload", "keep", str(spec)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=_START_LIMIT_S,
                check=True,
            )

    def _spec(self, environment: Mapping[str, str]) -> dict[str, Any]:
        folder = self._layout.ray
        return {
            "ray": largest(self._heads, environment),
            "nodes": 1,
            "startup_log": str(folder / "startup.log"),
            "workers_path": str(folder / "workers"),
            "logs_path": str(folder / "logs"),
            "over_path": str(self._layout.journal),
            "linger_s": LINGER_S,
        }


def largest(heads: Sequence[RayHead], environment: Mapping[str, str]) -> dict[str, Any]:
    """Return the settings of a head that has enough for each of these; what only one can have is the first's."""
    settings = [ray_settings(head, environment, here=True) for head in heads]
    stores = [one["object_store_bytes"] for one in settings]
    return {
        **settings[0],
        **{name: max(one[name] for one in settings) for name in _LARGEST},
        "object_store_bytes": max(stores) if all(stores) else 0,
        "object_spilling": any(one["object_spilling"] for one in settings),
        "spill_dir": next((one["spill_dir"] for one in settings if one["spill_dir"]), ""),
    }


@contextlib.contextmanager
def shared_ray(layout: SessionLayout, plan: Plan) -> Iterator[SharedRay]:
    """Yield the hold on a session's head, and let go of it at the end."""
    shared = SharedRay(layout, plan)
    try:
        yield shared
    finally:
        shared.let_go()
