"""How long does --help take, for every verb?"""

from __future__ import annotations

import sys
from collections.abc import Iterator

from benchmarks.harness import Measurement, bench_argv, cpu_seconds, measurement, paired_ratios, repeated

VERBS = (
    "plan",
    "submit",
    "monitor",
    "run",
    "status",
    "sessions",
    "logs",
    "cancel",
    "results",
    "compare",
    "baseline",
    "history",
    "megatron",
    "options",
)


def measure() -> Iterator[Measurement]:
    """Yield CPU seconds of `--help`: the worst verb, and the ratio to a Python that does nothing."""
    worst = [max(cpu_seconds(bench_argv(verb, "--help")) for verb in VERBS) for _ in range(5)]
    yield measurement("--help of the slowest verb", "CPU s", worst, 0.15)
    ratios = paired_ratios(
        lambda: cpu_seconds(bench_argv("plan", "--help")), lambda: cpu_seconds([sys.executable, "-c", "pass"])
    )
    yield measurement("plan --help / python -c pass", "ratio", ratios)
    yield measurement("sessions, with an empty list", "CPU s", repeated(_sessions))


def _sessions() -> float:
    return cpu_seconds(bench_argv("sessions"), {"XDG_STATE_HOME": "/nonexistent"})
