"""How far two sets of samples lie apart, and how sure that is: pure.

The estimate is the Hodges-Lehmann shift, on logarithms where all values are positive. Two t tests are made, and the
weaker one counts: against the noise within the sessions, and, where there is a history, against the spread between
sessions, which a day's drift or a second mode shows and repetitions within one session do not. Variances of few samples
are moderated by those of all metrics of the comparison (Smyth 2004, "Linear models and empirical Bayes methods"): a
variance that is small by chance is the commonest false alarm.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEWEST_SAMPLES = 4  # on each side, to know the noise within a session
FEWEST_SESSIONS = 3  # earlier ones, to know the spread between sessions where nothing else is known
_FEWEST_BESIDE = 5  # beside the noise within a session: fewer of them would only hide what that can tell
_FEWEST_METRICS = 10  # to learn of one metric's noise from that of others
_LARGEST_DF = 1e4
_MOST_HODGES_LEHMANN = 400  # samples on a side; beyond, medians do
# Variance of the Hodges-Lehmann shift over that of the difference of the means, for normal noise: of many samples, and
# what n of them add to it, divided by n (simulated: 1.10 in all for 5 and 5).
_HODGES_LEHMANN, _FEW = math.pi / 3, 0.25

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The samples of one metric: (n,) of the session, (m,) of the baseline, a tuple for each earlier session."""

    after: tuple[float, ...]
    before: tuple[float, ...]
    history: tuple[tuple[float, ...], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Shift:
    """A relative difference: 0.05 is 5 % more than before.

    `low`, `high`: its interval, None where nothing is known of the noise; then `p` is None too, and `reason` says why.
    """

    estimate: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class _Noise:
    """A sum of squares over its degrees of freedom, and the factor that makes it the variance of an estimate."""

    variance: float
    df: float
    factor: float


@dataclass(frozen=True, kw_only=True)
class _Measured:
    estimate: float
    is_log: bool
    within: _Noise | None
    between: _Noise | None


def shifts(family: Sequence[Pair], confidence: float) -> list[Shift]:
    """Return the shift of each pair; intervals are those of one comparison, not of the whole family."""
    with np.errstate(all="ignore"):
        measured = [_measured(pair) for pair in family]
        within = _prior([m.within for m in measured if m is not None and m.within is not None])
        between = _prior([m.between for m in measured if m is not None and m.between is not None])
        return [
            Shift(estimate=None, reason="the values are too large to be compared")
            if item is None
            else _shift(item, pair, (within, between), confidence)
            for item, pair in zip(measured, family, strict=True)
        ]


def distance(relative: float, *, is_log: bool = True) -> float:
    """Return a relative difference on the scale of estimates."""
    if not is_log:
        return relative
    return math.log1p(relative) if relative > -1 else -math.inf  # -1: so near to nothing that no float says more


def is_logarithmic(pair: Pair) -> bool:
    """Tell whether all values are positive, so that their ratio says how far they lie apart."""
    return min((*pair.after, *pair.before, *(value for values in pair.history for value in values))) > 0


def location_shift(after: Array, before: Array) -> float:
    """Return the Hodges-Lehmann shift: the median of all differences."""
    if max(len(after), len(before)) > _MOST_HODGES_LEHMANN:
        return float(np.median(after) - np.median(before))
    return float(np.median(np.subtract.outer(after, before)))


def _location(values: Array) -> float:
    """Return the pseudo-median, the median of all means of two: with two modes it is steadier than the median."""
    if len(values) > _MOST_HODGES_LEHMANN:
        return float(np.median(values))
    first, second = np.triu_indices(len(values))
    return float(np.median(values[first] / 2 + values[second] / 2))


def _measured(pair: Pair) -> _Measured | None:
    """Return estimate and noise of one pair, None where the numbers are too large for it."""
    is_log = is_logarithmic(pair)
    after, before, *history = _scaled((pair.after, pair.before, *pair.history), is_log=is_log)
    estimate = location_shift(after, before)
    if not math.isfinite(estimate):
        return None
    sessions = [after, before, *history]
    df = sum(len(values) - 1 for values in sessions)
    squares = float(sum(((values - values.mean()) ** 2).sum() for values in sessions))
    fewest = min(len(after), len(before))
    within = between = None
    if fewest >= FEWEST_SAMPLES:
        factor = _HODGES_LEHMANN * (1 + _FEW / fewest) * (1 / len(after) + 1 / len(before))
        within = _Noise(variance=squares / df, df=df, factor=factor)
    if len(history) >= (FEWEST_SESSIONS if within is None else _FEWEST_BESIDE):
        places = np.array([_location(values) for values in (before, *history)])
        # Sessions of more samples than these two have lie closer together than these two would.
        thinner = max(1.0, float(np.mean([len(values) for values in history])) / fewest)
        between = _Noise(variance=float(places.var(ddof=1)), df=len(places) - 1, factor=2 * thinner)
    finite = all(noise is None or math.isfinite(noise.variance) for noise in (within, between))
    return _Measured(estimate=estimate, is_log=is_log, within=within, between=between) if finite else None


def _scaled(sets: Sequence[Sequence[float]], *, is_log: bool) -> list[Array]:
    """Return the samples as logarithms, or as shares of what both sides have in common."""
    arrays = [np.array(values, dtype=np.float64) for values in sets]
    if is_log:
        return [np.log(values) for values in arrays]
    scale = float(abs(np.median(arrays[0])) + abs(np.median(arrays[1]))) / 2
    if not scale:
        scale = max(float(abs(values).max()) for values in arrays) or 1.0
    return [values / scale for values in arrays]


def _prior(noises: Sequence[_Noise]) -> tuple[float, float]:
    """Return the degrees of freedom and the variance of what all metrics have in common; (0, 0) where that is nothing.

    Source: Smyth 2004, section 6.2: moments of the logarithms of the variances.
    """
    from scipy.special import digamma, polygamma

    known = [noise for noise in noises if noise.variance > 0 and noise.df > 0]
    if len(known) < _FEWEST_METRICS:
        return 0.0, 0.0
    half = np.array([noise.df for noise in known]) / 2
    spread = np.log([noise.variance for noise in known]) - digamma(half) + np.log(half)
    excess = float(np.var(spread, ddof=1) - np.mean(polygamma(1, half)))
    centre = float(np.mean(spread))
    if excess <= 0:
        return _LARGEST_DF, math.exp(centre)
    df = min(2 * _inverse_trigamma(excess), _LARGEST_DF)
    return df, math.exp(centre + float(digamma(df / 2)) - math.log(df / 2))


def _inverse_trigamma(value: float) -> float:
    """Return where the trigamma function has this value, by Newton's method. Source: Smyth 2004, appendix."""
    from scipy.special import polygamma

    found = 0.5 + 1 / value
    for _ in range(50):
        there = float(polygamma(1, found))
        step = there * (1 - there / value) / float(polygamma(2, found))
        found += step
        if abs(step) < 1e-8 * found:
            break
    return found


def _shift(
    item: _Measured, pair: Pair, priors: tuple[tuple[float, float], tuple[float, float]], confidence: float
) -> Shift:
    from scipy.special import stdtr, stdtrit

    tests = [
        _moderated(noise, prior)
        for noise, prior in zip((item.within, item.between), priors, strict=True)
        if noise is not None
    ]
    estimate = _relative(item.estimate, is_log=item.is_log)
    if not tests:
        return Shift(estimate=estimate, reason=_unknown_noise(pair))
    if all(error == 0 for error, _ in tests):
        return Shift(estimate=estimate, reason="no noise is seen, and too few samples to rely on that")
    usable = [(error, df) for error, df in tests if error > 0]
    p = max(2 * float(stdtr(df, -abs(item.estimate) / error)) for error, df in usable)
    reach = max(float(stdtrit(df, 0.5 + confidence / 2)) * error for error, df in usable)
    low, high = (_relative(item.estimate + sign * reach, is_log=item.is_log) for sign in (-1, 1))
    return Shift(estimate=estimate, low=low, high=high, p=p)


def _moderated(noise: _Noise, prior: tuple[float, float]) -> tuple[float, float]:
    """Return the standard error of the estimate and its degrees of freedom."""
    prior_df, prior_variance = prior
    df = noise.df + prior_df
    variance = (noise.df * noise.variance + prior_df * prior_variance) / df
    return math.sqrt(variance * noise.factor), df


def _unknown_noise(pair: Pair) -> str:
    n, m, sessions = len(pair.after), len(pair.before), len(pair.history)
    if n == m == 1:
        few = "one sample on each side tells nothing of noise"
    else:
        few = f"{n} and {m} samples tell too little of noise (fewest: {FEWEST_SAMPLES})"
    return f"{few}, and {sessions} earlier sessions of {FEWEST_SESSIONS} are known: set sweep.repeat"


def _relative(value: float, *, is_log: bool) -> float | None:
    """Return a distance as a relative difference, None where no float can hold it."""
    try:
        relative = math.expm1(value) if is_log else value
    except OverflowError:
        return None
    return relative if math.isfinite(relative) else None
