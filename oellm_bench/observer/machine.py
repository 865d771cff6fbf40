"""The machine an attempt runs on, as sys-env.json."""

from __future__ import annotations

import contextlib
import os
import platform
import re
import resource
import struct
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

import oellm_bench
from oellm_bench.errors import StateError
from oellm_bench.fileio import read_json
from oellm_bench.observer.task import Task
from oellm_bench.shell import is_secret_name

SCHEMA_VERSION = 1
_DEVICES = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL")
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_LIMITS = {"open_files": resource.RLIMIT_NOFILE, "locked_memory_bytes": resource.RLIMIT_MEMLOCK}
_SIF_MAGIC, _SIF_ID_AT = b"SIF_MAGIC\0", 64


def describe(task: Task, environment: Mapping[str, str], gpus: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of the machine, the job and the image may explain a result; no secrets."""
    memory = psutil.virtual_memory()
    return {
        "schema_version": SCHEMA_VERSION,
        "at": time.time(),
        "attempt": task.attempt,
        "host": os.uname().nodename,
        "kernel": platform.release(),
        "machine": platform.machine(),
        "system": _system(),
        "cpu": {
            "model": _cpu_model(),
            "logical": psutil.cpu_count(),
            "cores": psutil.cpu_count(logical=False),
            "usable": len(os.sched_getaffinity(0)),
            "governor": _first_line(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        },
        "load": list(os.getloadavg()),
        "memory_bytes": memory.total,
        "memory_available_bytes": memory.available,
        "swap_bytes": psutil.swap_memory().total,
        "limits": {name: _limit(number) for name, number in _LIMITS.items()},
        "gpus": gpus.get("gpus", []),
        "gpu_driver": gpus.get("driver"),
        "cuda_driver": gpus.get("cuda"),
        "container": image_identity(task.image) if task.image else None,
        "scripts": task.scripts,
        "git": _git(Path(task.session_file)),
        "oellm_bench": oellm_bench.__version__,
        "python": platform.python_version(),
        "slurm": {name: value for name, value in sorted(environment.items()) if _is_shown(name, "SLURM_")},
        "environment": {name: environment[name] for name in (*_DEVICES, *_THREADS) if name in environment},
    }


def image_identity(image: str) -> dict[str, Any]:
    """Return what tells an image from others: its size, its date, the id in its header, its digest where that is known.

    The digest is read from the file that the build writes beside the image: to compute that of many gigabytes in
    every job would load the file system. Source: the global header of SIF, sif-spec.
    """
    path = Path(image)
    found: dict[str, Any] = {"image": image}
    with contextlib.suppress(OSError):
        status = path.stat()
        found |= {"size_bytes": status.st_size, "modified_at": status.st_mtime}
        if path.is_file():
            with path.open("rb") as stream:
                found["sif_id"] = _sif_id(stream.read(_SIF_ID_AT + 16))
    with contextlib.suppress(StateError, TypeError, KeyError):
        built = read_json(Path(f"{image}.json"))
        found |= {"sha256": built["sha256"], "built": built.get("built"), "definition": built.get("definition")}
    return found


def _sif_id(head: bytes) -> str | None:
    where = head.find(_SIF_MAGIC)
    if where < 0 or len(head) < where + struct.calcsize("<10s3s3s16s"):
        return None
    import uuid  # not above: few entries run in an image

    # magic, version, architecture, then the id; before them a line that makes the file executable.
    return str(uuid.UUID(bytes=head[where + 16 : where + 32]))


def _is_shown(name: str, start: str) -> bool:
    return name.startswith(start) and not is_secret_name(name) and name != "SLURM_JWT"


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return platform.platform()


def _cpu_model() -> str:
    try:
        match = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(encoding="utf-8"), re.MULTILINE)
    except OSError:
        match = None
    return match[1] if match else platform.processor() or platform.machine()


def _limit(number: int) -> int | None:
    soft = resource.getrlimit(number)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def _first_line(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None


def _git(session_file: Path) -> Any:
    try:
        return read_json(session_file)["git"]
    except (StateError, TypeError, KeyError):
        return {}
