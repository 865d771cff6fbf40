"""Save where the Python processes of an attempt are, before they are stopped."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import psutil

from oellm_bench.fileio import append_text
from oellm_bench.shell import command_line, is_secret_name, run

_ONE_LIMIT_S = 5.0


def save(members: Iterable[psutil.Process], target: Path, *, limit_s: float) -> None:
    """Write a section for each process, the stacks of its threads where it runs Python.

    Needs py-spy and the right to look into the processes (kernel.yama.ptrace_scope); where that is missing, the
    section says so. Source: `py-spy dump --help`.
    """
    beside = Path(sys.executable).with_name("py-spy")
    program = str(beside) if beside.exists() else shutil.which("py-spy")
    deadline = time.monotonic() + limit_s
    for process in members:
        left_s = min(_ONE_LIMIT_S, deadline - time.monotonic())
        with contextlib.suppress(psutil.Error, OSError):
            append_text(target, f"{_heading(process)}\n{_stacks(program, process, left_s)}\n\n")


def _heading(process: psutil.Process) -> str:
    with process.oneshot():
        age_s, cpu = time.time() - process.create_time(), process.cpu_times()
        line = command_line(_without_secrets(process.cmdline()))[:500].replace("\n", "\\n")
        return (
            f"process {process.pid}: {process.status()}, {age_s:.0f} s old, {cpu.user + cpu.system:.1f} s CPU: {line}"
        )


def _without_secrets(argv: list[str]) -> list[str]:
    """Return a command line without the values of options that are called like a secret."""
    shown, hide = [], False
    for word in argv:
        name, equals, _ = word.partition("=")
        is_secret = name.startswith("-") and is_secret_name(name.lstrip("-").replace("-", "_"))
        shown.append("***" if hide else f"{name}=***" if is_secret and equals else word)
        hide = is_secret and not equals
    return shown


def _stacks(program: str | None, process: psutil.Process, limit_s: float) -> str:
    if "python" not in Path(process.exe()).name:
        return "  (no Python)"
    if program is None:
        return "  (py-spy is not installed)"
    if limit_s <= 0:
        return "  (no time left)"
    done = run([program, "dump", "--pid", str(process.pid)], timeout_s=limit_s)
    if done.returncode == 0:
        return done.stdout.rstrip()
    return f"  (py-spy: {done.stderr.strip() or 'no answer in time'})"
