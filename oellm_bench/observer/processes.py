"""CPU, memory and I/O of all processes of an attempt, from psutil."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

import psutil

from oellm_bench import proctree

_LOOKS = 2  # at an environment that names no attempt: the first may fall between fork and exec
_GONE = (psutil.Error, OSError)

_Identity: TypeAlias = tuple[int, float]


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What the processes of an attempt use now, and have used so far.

    `rss_bytes` adds up what each process holds: pages that are shared, as Ray's object store, count in each.
    CPU time and I/O hold those of ended processes too; never less than at the look before.
    """

    processes: int = 0
    threads: int = 0
    rss_bytes: int = 0
    cpu_s: float = 0.0
    read_bytes: int = 0
    write_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class _Totals:
    """CPU time, bytes read and written; of a process with all of its children that it has waited for."""

    cpu_s: float = 0.0
    read_bytes: int = 0
    write_bytes: int = 0


class Processes:
    """Everything below `root` but this process, and everything whose environment names the attempt."""

    def __init__(self, root: int, *, entry_dir: str, attempt: int) -> None:
        self._root = psutil.Process(root)
        self._marks = (os.fsencode(f"OELLM_BENCH_ENTRY_DIR={entry_dir}"), f"OELLM_BENCH_ATTEMPT={attempt}".encode())
        self._looks: dict[int, int] = {}
        self._named: set[int] = set()
        self._own_cpu_s: dict[_Identity, float] = {}
        self._totals: dict[_Identity, _Totals] = {}
        self._inherited: dict[_Identity, bool] = {}
        self._before = self._of_root()
        self._last = Usage()

    def usage(self) -> Usage:
        """Return what they use."""
        root = self._of_root()  # first, and parents before children: what one hands on must not be counted twice
        members = sorted(self.members(), key=psutil.Process.create_time)
        family = {self._root.pid, *(process.pid for process in members)}
        living = {(process.pid, process.create_time()) for process in members}
        now = Usage()
        for process in members:
            with contextlib.suppress(*_GONE):
                now = self._with(now, process, family)
        for ended in [key for key in self._totals if key not in living and self._inherited[key]]:
            del self._totals[ended]  # its parent's have them now
        sums = [root, *self._totals.values()]
        self._last = replace(
            now,
            cpu_s=max(
                self._last.cpu_s,
                sum(self._own_cpu_s.values()),  # more where a parent leaves the waiting to the kernel
                sum(one.cpu_s for one in sums) - self._before.cpu_s,
            ),
            read_bytes=max(self._last.read_bytes, sum(one.read_bytes for one in sums) - self._before.read_bytes),
            write_bytes=max(self._last.write_bytes, sum(one.write_bytes for one in sums) - self._before.write_bytes),
        )
        return self._last

    def members(self) -> list[psutil.Process]:
        """Return those that live."""
        below = {process.pid: process for process in self._root.children(recursive=True)}
        named = self._all_named()
        # Last: whoever was started here since, and lives, is among them.
        ours = psutil.Process().children(recursive=True) if proctree.has_children() else []
        own = {os.getpid(), self._root.pid, *(process.pid for process in ours)}
        found = [process for pid, process in below.items() if pid not in own]
        for pid in named - below.keys() - own:
            with contextlib.suppress(*_GONE):
                found.append(psutil.Process(pid))
        return found

    def _with(self, now: Usage, process: psutil.Process, family: set[int]) -> Usage:
        """Return the usage with one process more, and remember its totals."""
        key = (process.pid, process.create_time())
        with process.oneshot():
            rss, threads = process.memory_info().rss, process.num_threads()
            cpu, parent = process.cpu_times(), process.ppid()
            self._own_cpu_s[key] = cpu.user + cpu.system
            known = self._totals.get(key, _Totals())
            totals = replace(known, cpu_s=sum(cpu[:4]))
            with contextlib.suppress(psutil.AccessDenied, RuntimeError):  # RuntimeError: psutil's of an empty file
                io = process.io_counters()
                totals = replace(totals, read_bytes=io.read_bytes, write_bytes=io.write_bytes)
        self._totals[key], self._inherited[key] = totals, parent in family
        return replace(now, processes=now.processes + 1, threads=now.threads + threads, rss_bytes=now.rss_bytes + rss)

    def _of_root(self) -> _Totals:
        """Return what is left to the root by those that it has waited for, its own I/O with it."""
        cpu = self._root.cpu_times()
        found = _Totals(cpu_s=cpu.children_user + cpu.children_system)
        with contextlib.suppress(psutil.AccessDenied, RuntimeError):
            io = self._root.io_counters()
            found = replace(found, read_bytes=io.read_bytes, write_bytes=io.write_bytes)
        return found

    def _all_named(self) -> set[int]:
        """Return the processes whose environment names the attempt: srun's are no descendants of the job's script."""
        pids = psutil.pids()
        self._looks = {pid: self._looks.get(pid, 0) for pid in pids}
        self._named &= self._looks.keys()
        for pid, looks in self._looks.items():
            if looks < _LOOKS and pid not in self._named:
                self._looks[pid] = looks + 1
                if self._names_us(pid):
                    self._named.add(pid)
        return set(self._named)

    def _names_us(self, pid: int) -> bool:
        try:  # not psutil's: it takes all apart, and there may be thousands
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:  # of another user, or gone
            return False
        return all(mark in environment for mark in self._marks)
