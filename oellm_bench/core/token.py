"""The job name of each submission: unique, greppable, safe in every place SLURM puts it."""

from __future__ import annotations


def session_prefix(session8: str) -> str:
    """Return what the job names of a session begin with."""
    return f"ob-{session8}-"


def attempt_token(session8: str, entry_id: str, attempt: int) -> str:
    """Return the job name of attempt `attempt` (from 1): `ob-<session8>-<entry8>-a<n>`."""
    return f"{session_prefix(session8)}{entry_id}-a{attempt}"


def array_token(session8: str, chunk: int) -> str:
    """Return the job name of array chunk `chunk` (from 0), which holds first attempts only."""
    return f"{session_prefix(session8)}array{chunk:03d}-a1"
