"""A value that a metric is held against, and how far it may lie from it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

BASELINE = "baseline"
_FORM = "write [VALUE, LOWER, UPPER, UNIT], e.g. [1130, -5 %, +5 %, rows/s]; null leaves a side open"


@dataclass(frozen=True, kw_only=True)
class Reference:
    """A value with its bounds as shares of it: -0.05 is 5 % below, None is open.

    `value` is None where it is the baseline's, which is not known yet.
    """

    value: float | None
    lower: float | None
    upper: float | None
    unit: str = ""

    @property
    def lowest(self) -> float | None:
        """The least that is allowed."""
        return self._bound(self.lower)

    @property
    def highest(self) -> float | None:
        """The most that is allowed."""
        return self._bound(self.upper)

    def _bound(self, share: float | None) -> float | None:
        if share is None or self.value is None:
            return None
        return self.value + abs(self.value) * share


def parse_reference(given: Sequence[Any] | str) -> Reference:
    """Read `[1130, -5 %, +5 %, rows/s]`, as a list or as text. Raises ValueError that says what is wrong with it."""
    parts = [part.strip() for part in given.split(",")] if isinstance(given, str) else list(given)
    if not 2 <= len(parts) <= 4:
        raise ValueError(f"a reference has 2 to 4 parts, this one {len(parts)}; {_FORM}")
    lower, upper = _share(parts[1]), _share(parts[2]) if len(parts) > 2 else None
    if lower is None and upper is None:
        raise ValueError(f"a reference that is open on both sides holds for everything; {_FORM}")
    if lower is not None and not -1 <= lower <= 0:
        raise ValueError(f"the lower bound {parts[1]!r} is not between -100 % and 0; {_FORM}")
    if upper is not None and upper < 0:
        raise ValueError(f"the upper bound {parts[2]!r} is below 0; {_FORM}")
    unit = "" if len(parts) < 4 or parts[3] is None else str(parts[3])
    return Reference(value=_value(parts[0]), lower=lower, upper=upper, unit=unit)


def _value(part: Any) -> float | None:
    if part == BASELINE:
        return None
    number = _number(part)
    if number is None:
        raise ValueError(f"the value {part!r} is neither a number nor '{BASELINE}'; {_FORM}")
    return number


def _share(part: Any) -> float | None:
    """Return a bound as a share. Raises ValueError where it is none."""
    if part is None or part in ("", "null", "~", "none", "None"):
        return None
    is_percentage = isinstance(part, str) and part.endswith("%")
    number = _number(part.removesuffix("%").strip() if isinstance(part, str) else part)
    if number is None:
        raise ValueError(f"the bound {part!r} is no percentage; {_FORM}")
    if not is_percentage and abs(number) > 1:
        raise ValueError(f"the bound {part!r} would be {number:.0%}; write it with %, or as a share such as -0.05")
    return number / 100 if is_percentage else number


def _number(part: Any) -> float | None:
    if isinstance(part, bool) or not isinstance(part, int | float | str):
        return None
    try:
        number = float(part)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None
