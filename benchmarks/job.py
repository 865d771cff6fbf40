"""What does the runner add to a command inside a job?"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.harness import Measurement, cpu_seconds, measurement, repeated
from oellm_bench.core.plan import Plan, PlannedEntry, to_text


def measure() -> Iterator[Measurement]:
    """Yield CPU seconds of run_entry around `true`."""
    yield measurement("run_entry around `true`", "CPU s", repeated(_run_entry), 0.3)


def _run_entry() -> float:
    with tempfile.TemporaryDirectory() as name:
        entry = PlannedEntry(
            index=0, id="aaaaaaaa", name="e", parameters={}, argv=("true",), timeout_s=60, script="scripts/e.sbatch"
        )
        sweep = Path(name) / "sweep.json"
        sweep.write_text(to_text(Plan(project="p", fingerprint="f", entries=(entry,))))
        return cpu_seconds([sys.executable, "-m", "oellm_bench.run_entry", "--sweep", str(sweep), "--index", "0"])
