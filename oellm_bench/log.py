"""Logging set-up: talk goes to stderr, one line per event."""

from __future__ import annotations

import logging
import sys


def set_up(*, verbose: bool) -> None:
    """Send the package's log to stderr: warnings always, information when `verbose`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname).1s %(message)s"))
    root = logging.getLogger("oellm_bench")
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO if verbose else logging.WARNING)
