"""A pass/fail bound on a metric."""

from __future__ import annotations

from dataclasses import dataclass

from oellm_bench.core.option import option


@dataclass(frozen=True, kw_only=True)
class Requirement:
    """One bound; `exact_value` excludes the other two."""

    metric: str = option(
        "a metric in metrics.json; exec_time_s, cpu_s, peak_rss_bytes, ...; task_<stage>_<metric>_<figure>"
    )
    min_value: float | None = option("the metric must be at least this", None)
    max_value: float | None = option("the metric must be at most this", None)
    exact_value: bool | float | str | None = option("the metric must equal this", None)
