"""Where a series changes its level for good: pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

SHORTEST = 3  # sessions between two changes
_PERMUTATIONS = 499
_SEED = 20040101  # the same series, the same answer


def change_points(series: Sequence[float], *, alpha: float = 0.01) -> list[int]:
    """Return the indices at which a new level begins, in order.

    E-divisive (Matteson and James 2014): the split with the largest energy distance, kept where fewer than `alpha` of
    the permutations of the series have a larger one, then the same on both sides. Outliers alone are no change.
    """
    return sorted(_split(np.array(series, dtype=np.float64), 0, alpha))


def _split(values: NDArray[np.float64], start: int, alpha: float) -> Iterator[int]:
    if len(values) < 2 * SHORTEST:
        return
    distances = np.abs(values[:, None] - values[None, :])
    place, found = _best(distances)
    if not found > 0:  # every value the same
        return
    generator = np.random.default_rng(_SEED + len(values))
    larger = 0
    for _ in range(_PERMUTATIONS):
        order = generator.permutation(len(values))
        larger += _best(distances[np.ix_(order, order)])[1] >= found
    if (larger + 1) / (_PERMUTATIONS + 1) > alpha:
        return
    yield start + place
    yield from _split(values[:place], start, alpha)
    yield from _split(values[place:], start + place, alpha)


def _best(distances: NDArray[np.float64]) -> tuple[int, float]:
    """Return the split with the largest energy statistic, and that statistic.

    distances: (k, k) absolute differences. Sums over blocks come from one table of cumulated sums.
    """
    count = len(distances)
    cumulated = distances.cumsum(axis=0).cumsum(axis=1)
    places = np.arange(SHORTEST, count - SHORTEST + 1)
    left = np.diagonal(cumulated)[places - 1]
    across = cumulated[places - 1, -1] - left
    right = cumulated[-1, -1] - left - 2 * across
    n, m = places.astype(np.float64), (count - places).astype(np.float64)
    energy = 2 * across / (n * m) - left / (n * np.maximum(n - 1, 1)) - right / (m * np.maximum(m - 1, 1))
    statistic = energy * n * m / (n + m)
    index = int(np.argmax(statistic))
    return int(places[index]), float(statistic[index])
