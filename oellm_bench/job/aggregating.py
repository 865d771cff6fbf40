"""Have a script's tasks.pkl aggregated, in a process of its own: a pickle is a program, and this one is not ours."""

from __future__ import annotations

import sys
from pathlib import Path

from oellm_bench import shell
from oellm_bench.core.result import STAGES_SCHEMA_VERSION
from oellm_bench.fileio import atomic_write_json, open_file

_LIMIT_S = 50.0  # a little more than the program allows itself
# What `pickle.dumps([], protocol)` gives, for every protocol: nothing is in it, and no process is needed to say so.
_EMPTY = frozenset(
    {b"(lp0\n.", b"]q\x00.", b"\x80\x02]q\x00.", b"\x80\x03]q\x00.", b"\x80\x04]\x94.", b"\x80\x05]\x94."}
)


def aggregated_tasks(benchmark_results: Path) -> str:
    """Aggregate tasks.pkl into tasks.json beside it; return why that could not be, empty where all is well."""
    source = benchmark_results / "tasks.pkl"
    size = source.stat().st_size if source.is_file() else 0
    if not size:
        return ""
    target = source.with_suffix(".json")
    if size <= max(map(len, _EMPTY)) and _content(source) in _EMPTY:
        return _without_stages(target)
    done = shell.run(
        (sys.executable, "-P", "-m", "oellm_bench.job.task_stages", str(source), str(target)), timeout_s=_LIMIT_S
    )
    if done.returncode == 0:
        return ""
    said = done.stderr.strip().splitlines()
    return f"tasks.pkl cannot be read ({said[-1] if said else 'too large, or too slow'}); left out"


def _without_stages(target: Path) -> str:
    try:
        atomic_write_json(target, {"schema_version": STAGES_SCHEMA_VERSION, "stages": {}}, compact=True)
    except OSError as err:
        return f"tasks.json cannot be written ({err.strerror}); left out"
    return ""


def _content(path: Path) -> bytes:
    try:
        with open_file(path) as stream:
            return stream.read()
    except OSError:
        return b""
