"""Read what the payload tells about its Ray head and the command beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from oellm_bench.core.result import ErrorMode
from oellm_bench.errors import StateError
from oellm_bench.fileio import last_line, read_json
from oellm_bench.job.supervise import GRACE_S, Ended

_HEAD_STOP_S = 20.0  # the payload gives the head 8 s, then kills it and copies its logs


def stop_limit_s() -> float:
    """Return the most seconds the payload needs to end the command and the head."""
    return GRACE_S + _HEAD_STOP_S


def command_started_at(path: Path) -> float | None:
    """Return since when the command beside the head runs, None: not yet."""
    started_at = _read(path).get("command_started_at")
    return started_at if isinstance(started_at, float) else None


def has_ended(path: Path) -> bool:
    """Tell whether the command is over and only the head is being stopped."""
    return "command_ended_at" in _read(path)


def command_ended(payload: Ended, path: Path, stderr: Path) -> Ended:
    """Return how the command ended, given how the payload around it did; `stderr` has what a launcher said.

    Times and return code are the command's own: the head's start and stop are nobody's run time.
    """
    state = _read(path)
    if not state:
        message = ": ".join(filter(None, ("the launcher never ran the payload", last_line(stderr))))
        return replace(payload, **_unless_stopped(payload, ErrorMode.CRASH, message))
    if "command_started_at" not in state:
        failure = ErrorMode(state["failure"] or ErrorMode.RAY_START_FAILED)
        message = state["message"] or "the process that starts the Ray head ended early"
        if payload.failure is ErrorMode.TIMEOUT:  # the time limit of the start, the command's never began
            payload = replace(payload, failure=None)
            message = "the Ray head was not ready in time"
        return replace(payload, returncode=None, **_unless_stopped(payload, failure, message))
    notes = [text for text in (payload.message, state["message"]) if text]
    return replace(
        payload,
        returncode=payload.returncode if state["returncode"] is None else state["returncode"],
        message="; ".join(notes),
        started_at=state["command_started_at"],
        ended_at=state.get("command_ended_at", payload.ended_at),
    )


def _unless_stopped(payload: Ended, failure: ErrorMode, message: str) -> Mapping[str, Any]:
    """Return the failure to note; one that the supervisor saw itself comes first."""
    return {} if payload.failure else {"failure": failure, "message": message}


def _read(path: Path) -> Mapping[str, Any]:
    """Return what the payload tells, as far as it is of the kind it should be: the script can write there too."""
    try:
        document = read_json(path)
    except StateError:  # not written yet, or the disk is full
        return {}
    if not isinstance(document, dict) or not document:
        return {}
    known = {name: value for name, value in document.items() if isinstance(value, _KINDS.get(name, ()))}
    failure = known.get("failure", "")
    return {
        "message": "",
        "returncode": None,
        **known,
        "failure": failure if failure in {mode.value for mode in ErrorMode} else "",
    }


_KINDS: Mapping[str, Any] = {
    "failure": str,
    "message": str,
    "returncode": (int, type(None)),
    "command_started_at": float,
    "command_ended_at": float,
}
