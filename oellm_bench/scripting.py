"""Which entries share a script, and what each script is: pure."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import oellm_bench
from oellm_bench.config.project import ConfiguredPoint
from oellm_bench.core.plan import PlannedEntry, checksum
from oellm_bench.core.resources import Resources
from oellm_bench.rendering import directives as sbatch
from oellm_bench.rendering.sbatch import EntryReference, ScriptContext, render_array, render_entry

# A script may have 4 MB (max_script_size in slurm.conf(5)), and an entry's line in the map takes up to 200 bytes.
ARRAY_CHUNK = 10_000


def render(
    entries: Sequence[tuple[PlannedEntry, ConfiguredPoint]], session_dir: Path
) -> tuple[list[PlannedEntry], dict[str, str]]:
    """Return the entries with their scripts' names, and the scripts' texts."""
    planned: list[PlannedEntry] = []
    scripts: dict[str, str] = {}
    arrays: dict[str, list[tuple[PlannedEntry, ConfiguredPoint]]] = {}
    for entry, point in entries:
        slurm, found, context = _script_inputs(entry.resources, point, session_dir)
        if slurm.array:
            arrays.setdefault(repr((found, slurm.setup, context.python)), []).append((entry, point))
            continue
        path = f"scripts/{entry.name}.sbatch"
        scripts[path] = render_entry(EntryReference(entry.id, entry.name), found, slurm.setup, context)
        planned.append(replace(entry, script=path))
    for members in arrays.values():
        for start in range(0, len(members), ARRAY_CHUNK):
            chunk = members[start : start + ARRAY_CHUNK]
            path = next(path for path in map("scripts/array_{:03d}.sbatch".format, count()) if path not in scripts)
            tasks = {task: EntryReference(entry.id, entry.name) for task, (entry, _) in enumerate(chunk)}
            slurm, found, context = _script_inputs(chunk[0][0].resources, chunk[0][1], session_dir)
            scripts[path] = render_array(tasks, found, slurm.setup, context)
            planned.extend(replace(entry, script=path, task=task) for task, (entry, _) in enumerate(chunk))
    checksums = {path: checksum(text.encode()) for path, text in scripts.items()}
    planned = [replace(entry, script_checksum=checksums[entry.script]) for entry in planned]
    return sorted(planned, key=lambda entry: entry.index), scripts


def _script_inputs(
    resources: Resources, point: ConfiguredPoint, session_dir: Path
) -> tuple[Any, tuple[sbatch.Directives, ...], ScriptContext]:
    slurm = point.project.slurm
    context = ScriptContext(
        session_dir=session_dir,
        project=point.project.project.name,
        version=oellm_bench.__version__,
        python=slurm.python or sys.executable,
    )
    first = sbatch.directives(slurm.sbatch, walltime_s=resources.walltime_s)
    further = sbatch.components(slurm.hetjob, walltime_s=resources.walltime_s)
    return slurm, (first, *further), context
