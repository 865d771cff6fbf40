"""Prepare the folders of an attempt and clear them away."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from oellm_bench.fileio import NO_SPACE, atomic_write_text
from oellm_bench.job.archive import write_archive
from oellm_bench.job.attempt import Attempt, last_started

ROOM_BYTES, PROBE_BYTES = 64 << 10, 16 << 10  # random, or a file system that compresses would keep none


def prepare(attempt: Attempt) -> None:
    """Make the attempt's folder, an empty scratch, empty benchmark_results and artifacts.

    Results that an earlier attempt (or this one, before it was requeued) left are moved into that attempt's
    folder: they must never pass for this one's. Raises OSError.
    """
    layout, files = attempt.layout, attempt.files
    reopen(attempt)  # a runner that was killed could not
    if not layout.root.is_dir():  # one that is linked to from here is as good
        _put_aside(layout.root, unless=Path.is_dir)
    for folder in (files.root.parent, files.root, layout.benchmark_results, layout.artifacts):
        _put_aside(folder, unless=Path.is_dir)
    owner = layout.attempt(last_started(layout, attempt.number)).root
    files.root.mkdir(parents=True, exist_ok=True)
    for folder in (layout.benchmark_results, layout.artifacts):
        if _has_content(folder):
            folder.rename(_free_name(owner / folder.name))
    layout.benchmark_results.mkdir(exist_ok=True)
    for told in (files.stop_order, files.heartbeat):  # before this attempt was requeued
        with contextlib.suppress(IsADirectoryError):
            told.unlink(missing_ok=True)
    if attempt.entry.capture.enabled:
        layout.artifacts.mkdir(exist_ok=True)
    if attempt.needs_payload:
        write_archive(attempt.payload)
    remove_scratch(attempt)
    _make(attempt, layout.scratch)
    _room(attempt).write_bytes(os.urandom(ROOM_BYTES))
    if attempt.entry.ray.enabled:
        _make(attempt, layout.ray_cluster)
        attempt.ray_state.unlink(missing_ok=True)
        remove(attempt.ray_workers)
        attempt.ray_workers.mkdir()
        atomic_write_text(attempt.ray_spec, attempt.ray_spec_text(os.environ))
    _write_own_files(attempt)


def _write_own_files(attempt: Attempt) -> None:
    """Write the files that the command is to find, and lay the links that the user wants."""
    root = attempt.layout.root
    for name, text in attempt.entry.files.items():
        _put_aside(root / name, unless=Path.is_file)
        atomic_write_text(root / name, text)
    for name, target in attempt.entry.links.items():
        _link(root / name, target.replace("{attempt}", str(attempt.number)))


def remove_scratch(attempt: Attempt) -> None:
    """Remove scratch/, wherever it lies. Raises OSError where something cannot be removed."""
    remove(attempt.layout.scratch)
    if attempt.entry.artifacts_dir:
        remove(Path(attempt.entry.artifacts_dir) / attempt.layout.scratch.name)


def reopen(attempt: Attempt) -> None:
    """Take back the folders of ours that the script has closed: what it wrote there is to be read."""
    attempts = attempt.files.root.parent
    for folder in (attempt.layout.root, attempts, attempt.layout.benchmark_results):
        _open(folder)
    with contextlib.suppress(OSError):
        for folder in attempts.iterdir():
            _open(folder)


def make_room_for_records(attempt: Attempt) -> str:
    """Clear the way for the records, with the room that was kept for them; returns why there was no other, if so."""
    for path in (attempt.files.results, attempt.layout.results, attempt.files.exit):
        _put_aside(path, unless=Path.is_file)
    room = _room(attempt)
    probe = room.with_name(f"{room.name}.probe")
    try:
        probe.write_bytes(os.urandom(PROBE_BYTES))
        trouble = ""
    except OSError as err:
        trouble = f"{attempt.session}: {err.strerror}" if err.errno in NO_SPACE else ""
    for path in (probe, room, attempt.payload):
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)
    return trouble


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


def _make(attempt: Attempt, folder: Path) -> None:
    """Make a folder of the entry, in the place for large things where there is one."""
    if not attempt.entry.artifacts_dir:
        _put_aside(folder, unless=Path.is_dir)
        folder.mkdir(exist_ok=True)
        return
    elsewhere = Path(attempt.entry.artifacts_dir) / folder.name
    elsewhere.mkdir(parents=True, exist_ok=True)
    _link(folder, str(elsewhere))


def _link(path: Path, target: str) -> None:
    """Have a name lead to a target, whatever had that name."""
    if not path.is_symlink():
        _put_aside(path, unless=Path.is_symlink)
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    part.symlink_to(target)
    part.replace(path)


def _room(attempt: Attempt) -> Path:
    return attempt.files.root / ".room"


def _open(folder: Path) -> None:
    with contextlib.suppress(OSError):
        mode = folder.lstat().st_mode
        if stat.S_ISDIR(mode) and mode & 0o700 != 0o700:
            folder.chmod(stat.S_IMODE(mode) | 0o700)


def _put_aside(path: Path, *, unless: Callable[[Path], bool]) -> None:
    """Rename what has the name of a file or folder of ours and is something else."""
    with contextlib.suppress(FileNotFoundError):
        path.lstat()
        if path.is_symlink() or not unless(path):
            path.rename(_free_name(path.with_name(f"{path.name}.aside")))


def _has_content(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _free_name(wanted: Path) -> Path:
    """Return the path, or with the first number that is free."""
    path, number = wanted, 0
    while path.exists():
        number += 1
        path = wanted.with_name(f"{wanted.name}.{number}")
    return path
