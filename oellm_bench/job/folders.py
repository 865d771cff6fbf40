"""Prepare the folders of an attempt and clear them away."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from oellm_bench.fileio import atomic_write_text
from oellm_bench.job.archive import write_archive
from oellm_bench.job.attempt import Attempt, last_started


def prepare(attempt: Attempt) -> None:
    """Make the attempt's folder, an empty scratch, empty benchmark_results and artifacts.

    Results that an earlier attempt (or this one, before it was requeued) left are moved into that attempt's
    folder: they must never pass for this one's. Raises OSError.
    """
    layout, files = attempt.layout, attempt.files
    owner = layout.attempt(last_started(layout, attempt.number)).root
    files.root.mkdir(parents=True, exist_ok=True)
    for folder in (layout.benchmark_results, layout.artifacts):
        if _has_content(folder):
            folder.rename(_free_name(owner / folder.name))
    layout.benchmark_results.mkdir(exist_ok=True)
    files.stop_order.unlink(missing_ok=True)
    if attempt.entry.capture.enabled:
        layout.artifacts.mkdir(exist_ok=True)
    if attempt.entry.ray.enabled or (attempt.entry.capture.enabled and attempt.entry.capture.packages):
        write_archive(attempt.payload)
    remove(layout.scratch)
    layout.scratch.mkdir()
    if attempt.entry.ray.enabled:
        layout.ray_cluster.mkdir(exist_ok=True)
        attempt.ray_state.unlink(missing_ok=True)
        remove(attempt.ray_workers)
        attempt.ray_workers.mkdir()
        atomic_write_text(attempt.ray_spec, attempt.ray_spec_text(os.environ))


def remove(folder: Path) -> None:
    """Remove a folder with all that is in it, also where the script took our write permission away.

    Raises OSError where something cannot be removed.
    """
    if folder.is_symlink():
        folder.unlink()  # what it points to is not ours
        return
    try:
        shutil.rmtree(folder)
    except FileNotFoundError:
        return
    except PermissionError:
        folder.chmod(0o700)
        for path, names, _ in os.walk(folder):  # top down: a folder is opened before it is looked into
            for name in names:
                if not (Path(path) / name).is_symlink():
                    (Path(path) / name).chmod(0o700)
        shutil.rmtree(folder)


def _has_content(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _free_name(wanted: Path) -> Path:
    """Return the path, or with the first number that is free."""
    path, number = wanted, 0
    while path.exists():
        number += 1
        path = wanted.with_name(f"{wanted.name}.{number}")
    return path
