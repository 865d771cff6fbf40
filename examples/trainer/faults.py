"""Ways to fail on demand, told by environment variables, so that what watches a training can be tried on one.

    TRAINER_FAULT           crash, hang, oom, gpu-oom, nan or kill-while-saving; empty or none: no fault
    TRAINER_FAULT_AT        the iteration that it happens before (saving: the first checkpoint from there on)
    TRAINER_FAULT_ATTEMPTS  how many attempts, as OELLM_BENCH_ATTEMPT counts them, have it; default 1

`oom` really allocates, under a limit of its own (RLIMIT_AS), until there is a MemoryError; `gpu-oom` has no GPU and
raises an error with CUDA's words.
"""

from __future__ import annotations

import os
import resource
import signal
import time
from dataclasses import dataclass
from pathlib import Path

KINDS = ("crash", "hang", "oom", "gpu-oom", "nan", "kill-while-saving")
ROOM_BYTES = 256 << 20  # what `oom` may allocate before it fails


class OutOfMemoryError(RuntimeError):
    """What PyTorch raises for its GPU."""


OutOfMemoryError.__module__ = "torch"  # a traceback shows it as torch.OutOfMemoryError


@dataclass(frozen=True)
class Fault:
    """What goes wrong, and when."""

    kind: str = ""
    at: int = 0

    def before(self, iteration: int) -> None:
        """Fail, if this is the iteration to fail before."""
        if iteration != self.at:
            return
        if self.kind == "crash":
            raise RuntimeError(f"TRAINER_FAULT=crash at iteration {iteration}")
        if self.kind == "hang":
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # what hangs saves nothing, either
            while True:
                time.sleep(60)
        if self.kind == "oom":
            _allocate_all()
        if self.kind == "gpu-oom":
            raise OutOfMemoryError(
                "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 39.39 GiB"
            )

    def spoils(self, iteration: int) -> bool:
        """Tell whether the loss of this iteration is to be no number."""
        return self.kind == "nan" and iteration == self.at

    def halfway(self, iteration: int) -> None:
        """Die, if this checkpoint is the one to die in."""
        if self.kind == "kill-while-saving" and iteration >= self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def from_environment() -> Fault:
    """Return the fault of this attempt; raises SystemExit for one that is not known."""
    kind = os.environ.get("TRAINER_FAULT", "")
    if kind in ("", "none"):
        return Fault()
    if kind not in KINDS:
        raise SystemExit(f"TRAINER_FAULT={kind} is unknown; there are {', '.join(KINDS)}")
    if int(os.environ.get("OELLM_BENCH_ATTEMPT", "1")) > int(os.environ.get("TRAINER_FAULT_ATTEMPTS", "1")):
        return Fault()
    return Fault(kind, int(os.environ.get("TRAINER_FAULT_AT", "1")))


def _allocate_all() -> None:
    used = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + ROOM_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    hoard = []
    while True:
        hoard.append(bytearray(ROOM_BYTES // 8))
