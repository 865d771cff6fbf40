"""The session that a campaign is held against: chosen by the user, by project, in the state folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from oellm_bench.core.layout import StateLayout
from oellm_bench.errors import StateError
from oellm_bench.fileio import atomic_write_json, file_lock, is_there, read_json

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """A chosen session; `set_at` in epoch seconds, `good`: whether all of it had passed by then."""

    session: str
    session_dir: str
    set_at: float
    good: bool = True


def read_baseline(state: StateLayout, project: str) -> Baseline | None:
    """Return the baseline of a project, None where none was chosen. Raises StateError for a file that is broken."""
    document = _baselines(state).get(project)
    if document is None:
        return None
    try:
        return Baseline(**document)
    except TypeError as err:
        raise StateError(f"{state.baseline} holds no baseline for '{project}' ({err}); set it anew") from err


def write_baseline(state: StateLayout, project: str, baseline: Baseline | None) -> None:
    """Choose the baseline of a project, or none; those of other projects stay. Raises StateError."""
    with file_lock(state.baseline_lock):
        baselines = dict(_baselines(state))
        if baseline is None:
            baselines.pop(project, None)
        else:
            baselines[project] = asdict(baseline)
        atomic_write_json(state.baseline, {"schema_version": SCHEMA_VERSION, "baselines": baselines})


def _baselines(state: StateLayout) -> Mapping[str, Any]:
    if not is_there(state.baseline):
        return {}
    document = read_json(state.baseline)
    version = document.get("schema_version") if isinstance(document, Mapping) else None
    if version != SCHEMA_VERSION or not isinstance(document.get("baselines"), Mapping):
        raise StateError(
            f"{state.baseline} has schema_version {version}; this version reads {SCHEMA_VERSION}; move it away"
        )
    baselines: Mapping[str, Any] = document["baselines"]
    return baselines
