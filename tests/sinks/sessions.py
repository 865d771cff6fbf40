"""What sinks are told in tests: a session and results of it, as the delivery hands them over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from oellm_bench.core.result import EntryResult

CREATED_AT = 1_700_000_000.0


def environment(folder: Path, entries: int, sink_name: str = "it's the/sink", **more: Any) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    known = {"id": "nightly_1", "session_dir": str(folder), "entries": entries, "created_at": CREATED_AT}
    return {**known, "run_reason": "", "viewer_url": "", "sink_name": sink_name, **more}


def result(name: str, *, success: bool = True, sink_data: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    mode = "success" if success else "timeout"
    known = {"name": name, "id": f"id-{name}", "attempt": 1, "success": success, "error_mode": mode, "exec_time_s": 2.0}
    extra = {
        key: more.pop(key)
        for key in ("warnings", "expected_failure", "attempts", "requirements", "entry_dir")
        if key in more
    }
    document = EntryResult(**{**known, "started_at": 1.0, "ended_at": 3.0, **more}).to_document()
    return {**document, "sink_data": sink_data or {}, **extra}
