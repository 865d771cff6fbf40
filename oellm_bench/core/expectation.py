"""Whether an entry ended as it was expected to: the one place that decides it."""

from __future__ import annotations

from oellm_bench.core.result import ErrorMode

# Nothing was seen of what the entry would have done.
_NEVER_SHOWN = frozenset(
    mode.value
    for mode in (
        ErrorMode.CANCELLED,
        ErrorMode.DEPENDENCY_FAILED,
        ErrorMode.LOST,
        ErrorMode.SUBMIT_REJECTED,
    )
)


def is_as_expected(expected_failure: str, error_mode: str) -> bool:
    """Tell whether an entry that ended in this mode did what was expected of it.

    One that is expected to fail has to fail by itself: to be cancelled or lost proves nothing. An empty mode is that
    of an entry that is not over.
    """
    if not expected_failure:
        return error_mode == ErrorMode.SUCCESS.value
    return error_mode not in ("", ErrorMode.SUCCESS.value, *_NEVER_SHOWN)


def expectation_note(expected_failure: str, error_mode: str) -> str:
    """Return what is to be said about an entry that is expected to fail, empty for all others."""
    if not expected_failure or not error_mode:
        return ""
    if error_mode == ErrorMode.SUCCESS.value:
        return f"passed, though it is expected to fail ({expected_failure}): take expected_failure out"
    return f"expected to fail: {expected_failure}" if is_as_expected(expected_failure, error_mode) else ""
