"""Write down what is seen of an attempt: samples, peaks and the heartbeat."""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from oellm_bench.core.peaks import Peaks
from oellm_bench.fileio import append_text, atomic_write_json
from oellm_bench.observer.gpu_thread import GpuThread
from oellm_bench.observer.processes import Processes, Usage
from oellm_bench.observer.progress import Progress
from oellm_bench.observer.stacks import save
from oellm_bench.observer.task import Task

SCHEMA_VERSION = 1


class Recorder:
    """Everything the observer writes; a full disk costs a sample, no more."""

    def __init__(self, task: Task, gpus: GpuThread) -> None:
        self._task = task
        self._gpus = gpus
        self._processes = Processes(task.root, entry_dir=task.entry_dir, attempt=task.attempt)
        self._progress = Progress(task.progress, task.logs)
        self._began = time.monotonic()
        self._last = (self._began, 0.0)
        self._peaks = Peaks()
        self._stacks_saved = False
        self._artifacts = Path(task.artifacts)

    def write_machine(self, document: dict[str, Any]) -> None:
        """Write sys-env.json."""
        with contextlib.suppress(OSError):
            atomic_write_json(self._artifacts / "sys-env.json", document)

    def save_stacks(self, limit_s: float) -> None:
        """Write where the processes are, once; the next heartbeat tells that it is done."""
        if self._stacks_saved:
            return
        self._stacks_saved = True
        save(self._processes.members(), Path(self._task.stacks), limit_s=limit_s)

    def beat(self) -> None:
        """Take a sample and write the heartbeat."""
        now, clock = time.time(), time.monotonic()
        usage, gpus = self._processes.usage(), self._gpus.sample()
        self._progress.look(now)
        self._peaks = self._peaks.with_sample(usage.rss_bytes, usage.processes, gpus)
        self._append("resource-stats.jsonl", self._row(now, clock, usage))
        for row in gpus:
            self._append("gpu-stats.jsonl", {"at": round(now, 3), **row})
        heartbeat = {
            "schema_version": SCHEMA_VERSION,
            "at": now,
            "attempt": self._task.attempt,
            "host": os.uname().nodename,
            "pid": self._task.root,
            "elapsed_s": round(clock - self._began, 3),
            "interval_s": self._task.interval_s,
            "log_bytes": self._progress.log_bytes,
            "progress": self._progress.last,
            "stacks_saved": self._stacks_saved,
            **asdict(usage),
            "peaks": self._peaks.to_document(),
        }
        _replace(Path(self._task.heartbeat), heartbeat)

    def _row(self, now: float, clock: float, usage: Usage) -> dict[str, Any]:
        before, cpu_s = self._last
        self._last = (clock, usage.cpu_s)
        percent = 100 * (usage.cpu_s - cpu_s) / (clock - before) if clock > before else 0.0
        return {"at": round(now, 3), "cpu_percent": round(max(0.0, percent), 1), **asdict(usage)}

    def _append(self, name: str, row: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):
            append_text(self._artifacts / name, json.dumps(row) + "\n")


def _replace(path: Path, document: dict[str, Any]) -> None:
    """Replace the heartbeat; not synced: the next one comes in seconds, and thousands of jobs write theirs."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.unlink(missing_ok=True)
        with part.open("x", encoding="utf-8") as stream:  # through no link
            stream.write(json.dumps(document) + "\n")
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
