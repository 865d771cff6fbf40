"""Measure commands by the CPU seconds the kernel charged them; wall time is noise on shared machines."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

REPEATS = 5


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """One row of the table. `value` is the median of `samples`; `target` is the most it may be, None for none."""

    question: str
    unit: str
    value: float
    samples: tuple[float, ...]
    target: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is met, None where there is none."""
        return None if self.target is None else self.value <= self.target


def measurement(question: str, unit: str, samples: Sequence[float], target: float | None = None) -> Measurement:
    """Return the median of samples as a row."""
    return Measurement(
        question=question, unit=unit, value=statistics.median(samples), samples=tuple(samples), target=target
    )


def cpu_seconds(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> float:
    """Run a command to its end and return the CPU seconds of it and all it waited for.

    Raises RuntimeError with its output where it fails.
    """
    read, write = os.pipe()
    process = subprocess.Popen(
        argv, stdout=write, stderr=write, env={**os.environ, **(environment or {})}, close_fds=True
    )
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        output = stream.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise RuntimeError(f"{argv} exited with {process.returncode}: {output.decode(errors='replace')[-2000:]}")
    return usage.ru_utime + usage.ru_stime


def repeated(measure: Callable[[], float], times: int = REPEATS) -> list[float]:
    """Return the figures of several runs, after one that does not count."""
    measure()
    return [measure() for _ in range(times)]


def paired_ratios(measure: Callable[[], float], reference: Callable[[], float], times: int = REPEATS) -> list[float]:
    """Return measure/reference for runs in alternation, so that both meet the machine in the same mood."""
    measure(), reference()
    return [measure() / reference() for _ in range(times)]


def bench_argv(*arguments: str) -> list[str]:
    """Return the command line of this package's command."""
    return [sys.executable, "-m", "oellm_bench", *arguments]
