"""A pass/fail bound on a metric."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from oellm_bench.core.option import option
from oellm_bench.core.reference import Reference, parse_reference
from oellm_bench.errors import Problem


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """What a metric must be; `exact_value` excludes every other bound, of the others all must hold."""

    metric: str = option(
        "a metric in metrics.json; exec_time_s, cpu_s, peak_rss_bytes, ...; task_<stage>_<metric>_<figure>"
    )
    min_value: float | None = option("the metric must be at least this", None)
    max_value: float | None = option("the metric must be at most this", None)
    exact_value: bool | float | str | None = option("the metric must equal this", None)
    reference: list[Any] | str | None = option(
        "[value, lower, upper, unit], e.g. [1130, -5 %, +5 %, rows/s]; value `baseline`: that of the baseline", None
    )
    reference_session: str = option("session that the value is from; filled in when it is planned", "")
    expected_failure: str = option("why this is expected not to be met; a miss then fails nothing", "")

    @property
    def relative(self) -> Reference | None:
        """What `reference` says, None where there is none. Raises ValueError for one that says nothing."""
        return None if self.reference is None else parse_reference(self.reference)

    @property
    def is_open(self) -> bool:
        """Whether it is relative to a baseline whose value is not known."""
        relative = self.relative
        return relative is not None and relative.value is None


def requirement_problems(requirements: Sequence[Requirement]) -> list[Problem]:
    """Return the bounds that contradict each other, or that nothing can meet."""
    return [problem for index, item in enumerate(requirements) for problem in _problems(item, f"requirements.{index}")]


def _problems(item: Requirement, where: str) -> Iterator[Problem]:
    bounds = {"min_value": item.min_value, "max_value": item.max_value, "exact_value": item.exact_value}
    for name, value in bounds.items():
        if isinstance(value, float) and math.isnan(value):
            yield Problem(what=f"{name} is NaN, which nothing meets", where=f"{where}.{name}", fix="give a number")
    if item.exact_value is not None and (item.min_value, item.max_value, item.reference) != (None, None, None):
        yield Problem(what="exact_value stands beside another bound", where=where, fix="keep one")
    if item.min_value is not None and item.max_value is not None and item.min_value > item.max_value:
        what = f"min_value {item.min_value} is above max_value {item.max_value}"
        yield Problem(what=what, where=where, fix="no value can meet both")
    if item.reference is not None:
        try:
            _ = item.relative
        except ValueError as err:
            what, _, fix = str(err).partition("; ")
            yield Problem(what=what, where=f"{where}.reference", fix=fix)
