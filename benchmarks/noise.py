"""Simulated nightly runs: what a comparison says of noise, and of slowdowns in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oellm_bench.comparison.shift import Pair
from oellm_bench.comparison.verdict import Question, Verdict, judge
from oellm_bench.core.metric import MIN_EFFECT, Direction

Array = NDArray[np.float64]
Generator = np.random.Generator


def _normal(generator: Generator, shape: tuple[int, ...]) -> Array:
    return generator.normal(0, 1, shape)


def _heavy_tailed(generator: Generator, shape: tuple[int, ...]) -> Array:
    return np.asarray(generator.standard_t(3, shape) / np.sqrt(3))


def _skewed(generator: Generator, shape: tuple[int, ...]) -> Array:
    drawn = generator.lognormal(0, 0.75, shape)
    return np.asarray((drawn - np.exp(0.75**2 / 2)) / np.sqrt((np.exp(0.75**2) - 1) * np.exp(0.75**2)))


def _bimodal(generator: Generator, shape: tuple[int, ...]) -> Array:
    return np.where(generator.random(shape) < 0.5, 1.0, -1.0) + generator.normal(0, 0.15, shape)


KINDS: dict[str, Callable[[Generator, tuple[int, ...]], Array]] = {
    "normal": _normal,
    "heavy-tailed": _heavy_tailed,
    "skewed": _skewed,
    "bimodal": _bimodal,
}


@dataclass(frozen=True, kw_only=True)
class Nightly:
    """Metrics of one night. `noise`: relative, the median over metrics; `spread`: its own spread over them (log).

    `drift`: how far the level of a day lies from the mean, relative. `history`: earlier nights that are known.
    """

    kind: str = "normal"
    metrics: int = 300
    repetitions: int = 5
    noise: float = 0.02
    spread: float = 0.5
    drift: float = 0.0
    history: int = 0

    def pairs(self, generator: Generator, slowdown: float = 0.0) -> list[Pair]:
        """Draw one compare; the first metric is slower by `slowdown`."""
        shape = (self.metrics, self.history + 2, self.repetitions)
        scale = self.noise * np.exp(generator.normal(0, self.spread, (self.metrics, 1, 1)))
        scale[0] = self.noise
        level = 1 + self.drift * generator.normal(0, 1, (*shape[:2], 1))
        values = 100 * level * np.maximum(1 + scale * KINDS[self.kind](generator, shape), 0.01)
        values[0, 0] *= 1 + slowdown
        return [
            Pair(after=tuple(of[0]), before=tuple(of[1]), history=tuple(tuple(night) for night in of[2:]))
            for of in values.tolist()
        ]


@dataclass(frozen=True, kw_only=True)
class FalseAlarms:
    """Shares of compares with a verdict of worse or better, and of metrics, where nothing has changed."""

    family: float
    metric: float


def false_alarms(nightly: Nightly, compares: int, *, seed: int = 1) -> FalseAlarms:
    """Return the false alarms of so many compares without a change."""
    generator = np.random.default_rng(seed)
    verdicts = [_verdicts(nightly.pairs(generator)) for _ in range(compares)]
    false = [[verdict in (Verdict.WORSE, Verdict.BETTER) for verdict in of] for of in verdicts]
    return FalseAlarms(family=float(np.mean([any(of) for of in false])), metric=float(np.mean(false)))


def missed(nightly: Nightly, compares: int, *, slowdown: float = 0.1, seed: int = 1) -> float:
    """Return the share of compares that do not find the one metric that is slower."""
    generator = np.random.default_rng(seed)
    found = [_verdicts(nightly.pairs(generator, slowdown))[0] is Verdict.WORSE for _ in range(compares)]
    return 1 - float(np.mean(found))


def _verdicts(pairs: Sequence[Pair]) -> list[Verdict]:
    questions = [Question(pair=pair, direction=Direction.LOWER, min_effect=MIN_EFFECT) for pair in pairs]
    return [answer.verdict for answer in judge(questions, 0.95)]
