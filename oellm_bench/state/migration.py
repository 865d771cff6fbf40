"""Journals of earlier releases, event by event, in this release's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from oellm_bench.core.events import SCHEMA_VERSION
from oellm_bench.core.result import ErrorMode
from oellm_bench.errors import StateError

# What an attempt that was cancelled counted as; version 1 said only who had asked for it.
_MODES_OF_VERSION_1 = {"stall": ErrorMode.STALL.value, "dependency": ErrorMode.DEPENDENCY_FAILED.value}


def version_of(document: Mapping[str, Any], before: int) -> int:
    """Return the schema version from this event on; `before` where it says none.

    Raises StateError for one that only a later release knows.
    """
    if document.get("event") != "Selected":
        return before
    version = document.get("schema_version", 1)
    if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        raise StateError(
            f"it has schema_version {version}, this release reads up to {SCHEMA_VERSION}: use the newer one"
        )
    return version


def migrated(document: Mapping[str, Any], version: int) -> Mapping[str, Any]:
    """Return an event of an earlier version as this one writes it; what is of this one already stays as it is.

    Both stand in one journal where a session was begun before an upgrade and goes on after it.
    """
    if version < 2 and document.get("event") == "CancelAsked" and "mode" not in document:
        return {**document, "mode": _MODES_OF_VERSION_1.get(document.get("by", ""), "")}
    return document
