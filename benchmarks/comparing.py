"""What does a compare cost, how often is it wrong, and would a textbook test do?"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from scipy.stats import bootstrap, mannwhitneyu

from benchmarks.harness import Measurement, bench_argv, cpu_seconds, measurement, repeated
from benchmarks.noise import KINDS, Nightly, false_alarms, missed
from benchmarks.recorded import record
from oellm_bench.comparison.verdict import holm

_COMPARES = 200
_TEXTBOOK = 20  # compares: these are slow


def measure() -> Iterator[Measurement]:
    """Yield CPU seconds of `compare`, and shares of compares over 300 metrics that are wrong, by kind of noise."""
    yield measurement("compare, 30 entries x 20 metrics x 5 repetitions", "CPU s", _compared(), 5.0)
    for history in (0, 10):
        for kind in KINDS:
            nightly, name = Nightly(kind=kind, history=history), f"{kind} noise, {history} nights known"
            # Two modes within a session cannot be told from two levels while no other session is known.
            target = None if kind == "bimodal" and not history else 0.05
            yield from _rates(nightly, name, target)
    for drift in (0.01, 0.02):
        nightly = Nightly(noise=0.005, drift=drift, history=10)
        yield from _rates(nightly, f"{drift:.0%} drift, 10 nights known", 0.05)
    for metrics, spread in ((1, 0.5), (30, 0.5), (300, 0.0)):
        share = missed(Nightly(metrics=metrics, spread=spread), _COMPARES)
        like = "" if spread else " of like noise"
        yield measurement(f"10 % slowdowns missed among {metrics}{like}, normal noise", "share", [share], 0.05)
    yield from _textbook()


def _rates(nightly: Nightly, name: str, target: float | None) -> Iterator[Measurement]:
    """Yield what goes wrong with 300 metrics; the noise of some is several times that of others."""
    found = false_alarms(nightly, _COMPARES)
    yield measurement(f"false alarms of compares, {name}", "share", [found.family], target)
    yield measurement(f"false alarms of metrics, {name}", "share", [found.metric])
    yield measurement(f"10 % slowdowns missed, {name}", "share", [missed(nightly, _COMPARES)])


def _textbook() -> Iterator[Measurement]:
    """Yield what Mann-Whitney and the BCa bootstrap do with the same normal noise, Holm over all metrics."""
    generator = np.random.default_rng(1)
    nightly = Nightly()
    unseen, alarms = [], []
    for _ in range(_TEXTBOOK):
        pairs = nightly.pairs(generator, 0.1)
        adjusted = holm([float(mannwhitneyu(pair.after, pair.before).pvalue) for pair in pairs])
        unseen.append(float((adjusted[0] or 0.0) >= 0.05))
        pairs = nightly.pairs(generator)[:30]
        alarms.append(float(np.mean([_bca(np.array(p.after), np.array(p.before), generator) for p in pairs])))
    yield measurement("10 % slowdowns missed by Mann-Whitney + Holm, normal noise", "share", [float(np.mean(unseen))])
    yield measurement("false alarms of metrics, 95 % BCa bootstrap, normal noise", "share", [float(np.mean(alarms))])


def _bca(after: np.ndarray, before: np.ndarray, generator: np.random.Generator) -> bool:
    """Tell whether the interval of the difference of the means leaves zero out."""
    found = bootstrap(
        (after, before),
        lambda x, y, axis: np.mean(x, axis=axis) - np.mean(y, axis=axis),
        n_resamples=999,
        rng=generator,
    )
    low, high = found.confidence_interval
    return bool(low > 0 or high < 0)


def _compared() -> list[float]:
    generator = np.random.default_rng(1)
    with tempfile.TemporaryDirectory() as name:
        os.environ["XDG_STATE_HOME"] = name
        for day in range(5):
            groups = {
                f"entry{entry}": [
                    {f"m{metric}_s": float(generator.normal(100, 2)) for metric in range(20)} for _ in range(5)
                ]
                for entry in range(30)
            }
            session = record(Path(name, "out"), groups, day=day)
        argv = bench_argv("compare", session.session_dir, "--json")
        return repeated(lambda: cpu_seconds(argv, {"XDG_STATE_HOME": name}))
