"""Time as an argument: the real clock, and the one tests turn by hand."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What the package needs of time."""

    def now(self) -> float:
        """Return seconds since the epoch (UTC)."""

    def sleep(self, seconds: float) -> None:
        """Wait."""


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        """Return seconds since the epoch (UTC)."""
        return time.time()

    def sleep(self, seconds: float) -> None:
        """Wait that many seconds."""
        time.sleep(seconds)


class ManualClock:
    """A clock that moves only when told to; sleeping moves it."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._now = start

    def now(self) -> float:
        """Return the time it was set to."""
        return self._now

    def sleep(self, seconds: float) -> None:
        """Move forward by `seconds`."""
        self._now += seconds


def utc_text(epoch_s: float) -> str:
    """Return ISO 8601 in UTC with seconds, `2026-01-31T12:00:00Z`."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def utc_stamp(epoch_s: float) -> str:
    """Return a form fit for file names, `20260131-120000`."""
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y%m%d-%H%M%S")
