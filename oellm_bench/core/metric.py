"""What is good for a metric, and which change of it matters."""

from __future__ import annotations

import enum
import fnmatch
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from oellm_bench.core.option import option
from oellm_bench.errors import Problem

MIN_EFFECT = 0.02
_LARGEST_EFFECT = 10.0


class Direction(enum.Enum):
    """Which values of a metric are better; of NONE a change is told, and is never worse."""

    HIGHER = "higher"
    LOWER = "lower"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class MetricRule:
    """What a campaign says of the metrics that fit a pattern."""

    direction: Literal["higher", "lower", "none"] | None = option("which values are better; null: by its name", None)
    min_effect: str | float | None = option("the least change that matters, e.g. 5 %; null: that of `compare`", None)


# Looked for in the parts of a name, in this order: `tokens_per_s` ends like a time and is none.
_KNOWN: tuple[tuple[Direction, str], ...] = (
    (Direction.HIGHER, r"(^|_)(throughput|accuracy|mfu|speedup|goodput|bandwidth|efficiency|f1|auc|recall|precision)"),
    (
        Direction.HIGHER,
        r"_per_(s|sec|second|minute|hour|gpu|node|core|iteration)(_|$)|(^|_)(t?flops?|tflops|qps|fps)(_|$)",
    ),
    (Direction.HIGHER, r"(^|_)tokens_per_|score"),
    (Direction.LOWER, r"(^|_)(loss|perplexity|latency|duration|elapsed|runtime|walltime|overhead|memory|mem|rss)(_|$)"),
    (Direction.LOWER, r"(^|_)(errors?|failures?|failed|wer|cer|mse|mae|rmse)(_|$)|(^|_)\w*time(_|$)"),
    (Direction.LOWER, r"_(s|sec|seconds|ms|us|ns|bytes|kb|mb|gb|kib|mib|gib|j|joules|wh|kwh)$"),
)
_FIGURES = re.compile(r"_(mean|median|min|max|sum|p\d{2})$")


def finite_number(value: Any) -> float | None:
    """Return a finite number as float, None for all else: true is none, nor is an integer beyond every float."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def direction_of(metric: str, rules: Mapping[str, MetricRule]) -> Direction:
    """Return which values of a metric are better: the first pattern that fits says it, else its name."""
    for pattern, rule in rules.items():
        if rule.direction is not None and fnmatch.fnmatchcase(metric, pattern):
            return Direction(rule.direction)
    name = _FIGURES.sub("", re.sub(r"[^a-z0-9]+", "_", metric.lower()))
    return next((direction for direction, pattern in _KNOWN if re.search(pattern, name)), Direction.NONE)


def min_effect_of(metric: str, rules: Mapping[str, MetricRule], default: float) -> float:
    """Return the least relative change of a metric that matters."""
    for pattern, rule in rules.items():
        if rule.min_effect is not None and fnmatch.fnmatchcase(metric, pattern):
            return parse_effect(rule.min_effect)
    return default


def parse_effect(given: str | float) -> float:
    """Read `5 %` or `0.05` as a share. Raises ValueError."""
    text = str(given).strip()
    try:
        number = float(text.removesuffix("%").strip()) / (100 if text.endswith("%") else 1)
    except ValueError:
        number = math.nan
    if isinstance(given, bool) or not 0 <= number < _LARGEST_EFFECT:
        raise ValueError(f"{given!r} is no share of a value; write 5 % or 0.05")
    return number


def metric_problems(rules: Mapping[str, MetricRule]) -> list[Problem]:
    """Return what is wrong with the rules for metrics."""
    problems = []
    for pattern, rule in rules.items():
        try:
            parse_effect(rule.min_effect if rule.min_effect is not None else 0.0)
        except ValueError as err:
            what, _, fix = str(err).partition("; ")
            problems.append(Problem(what=what, where=f"metrics.{pattern}.min_effect", fix=fix))
    return problems
