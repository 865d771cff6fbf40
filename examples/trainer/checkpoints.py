"""Checkpoints as Megatron lays them out: a folder for each iteration, and a file that names the newest whole one.

SAVE/iter_0000050/mp_rank_00/model_optim_rng.npz
SAVE/iter_0000050/.metadata                       not with --ckpt-format torch; last in its folder
SAVE/latest_checkpointed_iteration.txt            last of all, so what it names is complete
"""

from __future__ import annotations

import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

TRACKER = "latest_checkpointed_iteration.txt"
_STATE = "state"


class Unusable(Exception):
    """A checkpoint that is not there or not whole."""


def path_of(folder: Path, iteration: int) -> Path:
    """Return the file of an iteration's checkpoint."""
    return folder / f"iter_{iteration:07d}" / "mp_rank_00" / "model_optim_rng.npz"


def save(
    folder: Path,
    iteration: int,
    arrays: Mapping[str, np.ndarray],
    state: Mapping[str, Any],
    *,
    metadata: bool = True,
    halfway: Callable[[], None] = lambda: None,
) -> None:
    """Write a checkpoint, and then that it is the newest; `halfway` is called in the middle of it."""
    packed = io.BytesIO()
    np.savez(packed, **{_STATE: np.frombuffer(json.dumps(state).encode(), dtype=np.uint8)}, **arrays)
    content = packed.getbuffer()
    path = path_of(folder, iteration)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as stream:
        stream.write(content[: len(content) // 2])
        stream.flush()
        halfway()
        stream.write(content[len(content) // 2 :])
        stream.flush()
        os.fsync(stream.fileno())
    if metadata:
        (path.parents[1] / ".metadata").write_text(json.dumps(state), encoding="utf-8")
    temporary = folder / f".{TRACKER}.{os.getpid()}"
    temporary.write_text(str(iteration), encoding="ascii")
    temporary.replace(folder / TRACKER)


def newest(folder: Path) -> int | None:
    """Return the newest iteration that is whole, None where none is recorded.

    Raises Unusable where the record is no number.
    """
    try:
        text = (folder / TRACKER).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None
    try:
        return int(text)
    except ValueError:
        raise Unusable(f"ERROR: Invalid metadata file {folder / TRACKER}. Exiting") from None


def load(folder: Path, iteration: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return arrays and state of a checkpoint; raises Unusable where it is not whole."""
    path = path_of(folder, iteration)
    try:
        with np.load(path, allow_pickle=False) as packed:
            arrays = {name: packed[name] for name in packed.files}
        return arrays, json.loads(arrays.pop(_STATE).tobytes())
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as err:
        raise Unusable(f"could not load the checkpoint {path}: {err}") from err
