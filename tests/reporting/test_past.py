"""What a page says of earlier sessions: verdicts, levels, and that there is nothing to compare with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.recorded import record
from oellm_bench.comparison.baseline import Baseline, write_baseline
from oellm_bench.comparison.compare import Settings, compare
from oellm_bench.core.result import ErrorMode
from oellm_bench.session import Session
from tests.reporting.test_page import page_of, words


def runs(level: float, seed: int) -> list[dict[str, Any]]:
    generator = np.random.default_rng(seed)
    return [{"tokens_per_s": float(level * generator.normal(1, 0.005))} for _ in range(5)]


def section(page: str, name: str) -> str:
    """Return the words of one section."""
    [found] = re.findall(rf'<section aria-labelledby="{name}">.*?</section>', page, flags=re.DOTALL)
    return words(found)


def row(page: str, entry: str) -> str:
    [found] = re.findall(rf"<tr><th scope=\"row\">{entry}</th><td>tokens_per_s</td>.*?</tr>", page, flags=re.DOTALL)
    return words(found)


def test_verdicts_are_those_of_compare_and_what_is_worse_comes_first(tmp_path: Path) -> None:
    record(tmp_path, {"a": runs(1000, 1), "b": runs(500, 2), "c": runs(300, 3)}, day=1)
    session = record(tmp_path, {"a": runs(1000, 4), "b": runs(450, 5), "c": runs(330, 6)}, day=2)
    page = page_of(session)
    told = {one.entry: one for one in compare(session, None, Settings()).rows if one.metric == "tokens_per_s"}
    assert {name: one.answer.verdict.value for name, one in told.items()} == {"a": "same", "b": "worse", "c": "better"}
    for name, one in told.items():
        assert one.answer.verdict.value in row(page, name)
        assert f"{100 * one.answer.shift.estimate:+.3g} %" in row(page, name)
        assert f"{100 * one.answer.shift.low:+.3g} % to {100 * one.answer.shift.high:+.3g} %" in row(page, name)
    text = section(page, "compared")
    assert text.index("✗ worse") < text.index("✓ better") < text.index("= same")
    assert "Compared with p_day001" in text and "it is the last good session before this one" in text
    assert "✗ worse than before: 1 worse, 1 better" in words(page)
    assert page.index('id="compared"') < page.index('id="entries"')


def test_each_entry_says_what_became_of_its_metrics(tmp_path: Path) -> None:
    record(tmp_path, {"a": runs(1000, 1)}, day=1)
    page = page_of(record(tmp_path, {"a": runs(900, 2)}, day=2))
    assert section(page, "entries").count("1 worse") == 5  # of its five repetitions


def test_the_baseline_of_the_campaign_comes_before_the_last_session(tmp_path: Path) -> None:
    first = record(tmp_path, {"a": runs(1000, 1)}, day=1)
    record(tmp_path, {"a": runs(900, 2)}, day=2)
    write_baseline(first.state_layout, "p", Baseline(session=first.id, session_dir=first.session_dir, set_at=1.0))
    session = record(tmp_path, {"a": runs(900, 3)}, day=3)
    page = page_of(session)
    assert "it is the baseline of p" in section(page, "compared") and "✗ worse" in row(page, "a")
    assert "Compared with p_day001" in section(page, "environment")
    assert "The baseline: dotted." in section(page, "metrics")


def test_an_entry_that_fails_now_is_named(tmp_path: Path) -> None:
    record(tmp_path, {"a": runs(1000, 1), "b": runs(10, 2)}, day=1)
    page = page_of(record(tmp_path, {"a": runs(1000, 3), "b": [ErrorMode.CRASH] * 5}, day=2))
    assert "b passed in the baseline and does not end as expected now" in section(page, "compared")


def test_where_there_is_nothing_to_compare_with_that_is_said(tmp_path: Path) -> None:
    page = page_of(record(tmp_path, {"a": runs(1000, 1)}, day=1))
    assert "Nothing is compared: p_day001 has no baseline" in words(page)
    assert 'id="compared"' not in page and "✗ worse" not in page


def test_a_session_that_was_asked_for_and_is_the_same_is_not_compared(tmp_path: Path, cli) -> None:
    session = record(tmp_path, {"a": runs(1000, 1)}, day=1)
    done = cli("report", session.session_dir, "--baseline", session.session_dir)
    assert done.rc == 0 and "not compared: p_day001 is the baseline itself" in done.stderr


def nights(folder: Path) -> Session:
    """Ten nights of which the last five are slower."""
    found = [record(folder, {"a": runs(1000 if day < 6 else 800, day)}, day=day) for day in range(1, 11)]
    return found[-1]


def test_where_the_level_of_a_metric_changed_is_marked(tmp_path: Path) -> None:
    text = section(page_of(nights(tmp_path)), "metrics")
    [told] = re.findall(r"○ a, (\S+ \S+): a new level: \S+ -> \S+ \((-\S+) %\)", text)
    assert told[0].startswith("01-") and -21 < float(told[1]) < -19
