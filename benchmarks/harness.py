"""Measure commands by the CPU seconds the kernel charged them; wall time is noise on shared machines."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from oellm_bench.core.plan import Plan, PlannedEntry, to_text
from oellm_bench.core.resources import RayHead

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


def in_turn(*measures: Callable[[], float], times: int = REPEATS) -> list[list[float]]:
    """Return the figures of several measures, round by round, after one round that does not count."""
    return [[measure() for measure in measures] for _ in range(times + 1)][1:]


def bench_argv(*arguments: str) -> list[str]:
    """Return the command line of this package's command."""
    return [sys.executable, "-m", "oellm_bench", *arguments]


def run_entry_argv(folder: Path, argv: tuple[str, ...], ray: RayHead | None = None) -> list[str]:
    """Return the command line of the runner around a command, in a session in that folder."""
    entry = PlannedEntry(
        index=0,
        id="aaaaaaaa",
        name="e",
        parameters={},
        argv=argv,
        timeout_s=100,
        script="scripts/e.sbatch",
        ray=ray or RayHead(),
    )
    sweep = folder / "sweep.json"
    sweep.write_text(to_text(Plan(project="p", fingerprint="f", entries=(entry,))))
    return [sys.executable, "-m", "oellm_bench.run_entry", "--sweep", str(sweep), "--index", "0"]
