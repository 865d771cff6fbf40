"""CPU, memory and I/O of all processes of an attempt, from psutil."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

import psutil


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What the processes of an attempt use now, and have used so far.

    `rss_bytes` adds up what each process holds: pages that are shared, as Ray's object store, count in each.
    CPU time and I/O hold those of ended processes too, up to the last look at them.
    """

    processes: int = 0
    threads: int = 0
    rss_bytes: int = 0
    cpu_s: float = 0.0
    read_bytes: int = 0
    write_bytes: int = 0


class Processes:
    """Everything below `root` but this process, and everything whose environment names the attempt."""

    def __init__(self, root: int, *, entry_dir: str, attempt: int) -> None:
        self._root = psutil.Process(root)
        self._mark = {"OELLM_BENCH_ENTRY_DIR": entry_dir, "OELLM_BENCH_ATTEMPT": str(attempt)}
        self._known: dict[int, bool] = {}
        self._used: dict[tuple[int, float], tuple[float, int, int]] = {}

    def usage(self) -> Usage:
        """Return what they use."""
        living = threads = rss = 0
        for process in self.members():
            with contextlib.suppress(psutil.Error), process.oneshot():
                cpu = process.cpu_times()
                rss += process.memory_info().rss
                threads += process.num_threads()
                living += 1
                read = written = 0
                with contextlib.suppress(psutil.AccessDenied):
                    io = process.io_counters()
                    read, written = io.read_bytes, io.write_bytes
                self._used[process.pid, process.create_time()] = (cpu.user + cpu.system, read, written)
        return Usage(
            processes=living,
            threads=threads,
            rss_bytes=rss,
            cpu_s=sum(cpu for cpu, _, _ in self._used.values()),
            read_bytes=sum(read for _, read, _ in self._used.values()),
            write_bytes=sum(written for _, _, written in self._used.values()),
        )

    def members(self) -> list[psutil.Process]:
        """Return those that live."""
        below = {process.pid: process for process in self._root.children(recursive=True)}
        own = {os.getpid(), *(process.pid for process in psutil.Process().children(recursive=True))}
        marked = {pid: psutil.Process(pid) for pid in self._marked() if pid not in below and psutil.pid_exists(pid)}
        return [process for pid, process in {**below, **marked}.items() if pid not in own and pid != self._root.pid]

    def _marked(self) -> list[int]:
        """Return the processes whose environment names the attempt: srun's are no descendants of the job's script."""
        pids = psutil.pids()
        self._known = {pid: self._known[pid] if pid in self._known else self._names_us(pid) for pid in pids}
        return [pid for pid, ours in self._known.items() if ours]

    def _names_us(self, pid: int) -> bool:
        try:
            environment = psutil.Process(pid).environ()
        except (psutil.Error, OSError):  # of another user, or gone
            return False
        return all(environment.get(name) == value for name, value in self._mark.items())
