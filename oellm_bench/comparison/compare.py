"""A session against its baseline: one row for each metric of each entry."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from oellm_bench.comparison.choosing import Choice, Earlier, choose
from oellm_bench.comparison.environment import difference
from oellm_bench.comparison.samples import Group, Measured, measured, median
from oellm_bench.comparison.shift import Pair
from oellm_bench.comparison.verdict import Answer, Question, Verdict, judge
from oellm_bench.core.metric import MIN_EFFECT, MetricRule, direction_of, min_effect_of
from oellm_bench.errors import UsageError, nearest
from oellm_bench.session import Session

SCHEMA_VERSION = 1
HISTORY = 10
CONFIDENCE = 0.95
_NO_NUMBERS = frozenset(repr(text) for text in ("nan", "inf", "-inf"))  # as results.json has them


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is compared, and how.

    `metrics`, `entries`: patterns; without the former all that scripts report, and the run time. `rules`: by pattern,
    before those of the session. `history`: how many sessions before the baseline may tell of the spread between
    sessions.
    """

    metrics: tuple[str, ...] = ()
    entries: tuple[str, ...] = ()
    min_effect: float = MIN_EFFECT
    confidence: float = CONFIDENCE
    history: int = HISTORY
    rules: Mapping[str, MetricRule] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One metric of one entry (of a group, where it is repeated)."""

    entry: str
    metric: str
    question: Question
    answer: Answer

    def to_document(self) -> dict[str, Any]:
        """Return plain JSON values."""
        pair, shift = self.question.pair, self.answer.shift
        return {
            "entry": self.entry,
            "metric": self.metric,
            "verdict": self.answer.verdict.value,
            "reason": self.answer.reason,
            "direction": self.question.direction.value,
            "min_effect": self.question.min_effect,
            "median": median(pair.after),
            "baseline_median": median(pair.before),
            "difference": shift.estimate,
            "interval": [shift.low, shift.high],
            "p": shift.p,
            "p_adjusted": self.answer.p_adjusted,
            "samples": list(pair.after),
            "baseline_samples": list(pair.before),
            "history_sessions": len(pair.history),
        }


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a compare found.

    `failing`: entries that passed in the baseline and do not end as expected now. `gone`, `new`: entries on one side
    only. `left_out`: metrics of one side only, and those that are no numbers, each with `entry`, `metric`, `reason`.
    """

    session: Measured
    choice: Choice
    rows: tuple[Row, ...]
    failing: tuple[str, ...]
    gone: tuple[str, ...]
    new: tuple[str, ...]
    left_out: tuple[Mapping[str, str], ...]
    environment: tuple[Mapping[str, str], ...]

    @property
    def is_worse(self) -> bool:
        """Whether something is worse than it was."""
        return bool(self.failing) or any(row.answer.verdict is Verdict.WORSE for row in self.rows)

    def count(self, verdict: Verdict) -> int:
        """Return how many rows have this verdict."""
        return sum(row.answer.verdict is verdict for row in self.rows)

    def to_document(self) -> dict[str, Any]:
        """Return plain JSON values."""
        baseline = self.choice.baseline
        return {
            "schema_version": SCHEMA_VERSION,
            "session": self.session.session.id,
            "baseline": baseline.session.id,
            "baseline_reason": self.choice.why,
            "history": [other.session.id for other in self.choice.history],
            "worse": self.is_worse,
            "counts": {verdict.value: self.count(verdict) for verdict in Verdict},
            "rows": [row.to_document() for row in self.rows],
            "failing": list(self.failing),
            "gone": list(self.gone),
            "new": list(self.new),
            "left_out": [dict(item) for item in self.left_out],
            "environment": {
                "session": self.session.environment.to_document(),
                "baseline": baseline.environment.to_document(),
                "difference": [dict(item) for item in self.environment],
            },
        }


def compare(session: Session, baseline: Session | None, settings: Settings) -> Comparison:
    """Compare a session with a baseline, the campaign's own or the last good one where none is given.

    Raises UsageError where there is nothing to compare, or one of the two is not over; StateError where one cannot be
    read.
    """
    subject = measured(session)
    return compare_with(subject, choose(subject, baseline, Earlier(subject), settings.history), settings)


def compare_with(subject: Measured, choice: Choice, settings: Settings) -> Comparison:
    """Compare a session with the baseline that was chosen for it. Raises UsageError as `compare` does."""
    session = subject.session
    for one in (subject, choice.baseline):
        if not one.finished:
            raise UsageError(f"{one.session.id} is not over; `oellm-bench monitor --session {one.session.id}` ends it")
    if choice.baseline.session.session_dir == session.session_dir:
        raise UsageError(f"{session.id} is the baseline itself; name another session to compare it with")
    rules = _rules(session, settings)
    before, after = choice.baseline.groups, subject.groups
    entries = _selected([*dict.fromkeys((*after, *before))], settings.entries, "entry")
    both = _common(subject, choice.baseline, entries, settings)
    found = [(entry, metric) for entry in both for metric in _metrics(before[entry], after[entry], settings.metrics)]
    if settings.metrics and not found:
        known = {metric for entry in both for metric in (*before[entry].figures, *after[entry].figures)}
        raise UsageError(f"no metric is called {', '.join(settings.metrics)}; {nearest(settings.metrics[0], [*known])}")
    usable = [(entry, m) for entry, m in found if before[entry].figures.get(m) and after[entry].figures.get(m)]
    questions = [_question(subject, choice, entry, metric, (settings, rules)) for entry, metric in usable]
    answers = judge(questions, settings.confidence)
    return Comparison(
        session=subject,
        choice=choice,
        rows=tuple(
            Row(entry=entry, metric=metric, question=question, answer=answer)
            for (entry, metric), question, answer in zip(usable, questions, answers, strict=True)
        ),
        failing=tuple(entry for entry in both if _fails_now(before[entry], after[entry])),
        gone=tuple(entry for entry in entries if entry not in after),
        new=tuple(entry for entry in entries if entry not in before),
        left_out=(*_left_out(found, before, after), *_not_run(entries, before, after)),
        environment=tuple(difference(choice.baseline.environment, subject.environment)),
    )


def _rules(session: Session, settings: Settings) -> dict[str, MetricRule]:
    """Return the rules, the given ones first; of the session's configuration only what this release knows."""
    known = ("direction", "min_effect")
    rules = dict(settings.rules)
    for pattern, rule in session.metrics.items():
        given = rules.get(pattern, MetricRule())
        own = {key: rule[key] for key in known if key in rule and getattr(given, key) is None}
        rules[pattern] = replace(given, **own)
    return rules


def _selected(names: Sequence[str], patterns: Sequence[str], kind: str) -> list[str]:
    """Return the names that fit a pattern, all of them without one. Raises UsageError for one that fits nothing."""
    for pattern in patterns:
        if not fnmatch.filter(names, pattern):
            raise UsageError(f"no {kind} is called '{pattern}'; {nearest(pattern, names)}")
    return [n for n in names if not patterns or any(fnmatch.fnmatchcase(n, pattern) for pattern in patterns)]


def _common(subject: Measured, baseline: Measured, entries: Sequence[str], settings: Settings) -> list[str]:
    """Return the entries that are in both. Raises UsageError where there is none."""
    both = [entry for entry in entries if entry in baseline.groups and entry in subject.groups]
    if both:
        return both
    asked = f" that --entry {', '.join(settings.entries)} asks for" if settings.entries else ""
    what = f"{subject.session.id} and {baseline.session.id} have no entry in common{asked}"
    raise UsageError(f"{what}: nothing can be compared; name other sessions, `oellm-bench sessions` lists them")


def _metrics(before: Group, after: Group, patterns: Sequence[str]) -> list[str]:
    """Return the metrics of either side that are to be compared."""
    everything = dict.fromkeys((*after.figures, *after.unusable, *before.figures, *before.unusable))
    if patterns:
        return [name for name in everything if any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)]
    return [name for name in everything if name in after.own or name in before.own]


def _question(
    subject: Measured, choice: Choice, entry: str, metric: str, how: tuple[Settings, Mapping[str, MetricRule]]
) -> Question:
    settings, rules = how
    past = (other.samples(entry, metric) for other in choice.history)
    return Question(
        pair=Pair(
            after=subject.samples(entry, metric),
            before=choice.baseline.samples(entry, metric),
            history=tuple(samples for samples in past if samples),
        ),
        direction=direction_of(metric, rules),
        min_effect=min_effect_of(metric, rules, settings.min_effect),
    )


def _fails_now(before: Group, after: Group) -> bool:
    return before.as_expected == before.planned and after.as_expected < after.planned


def _left_out(
    found: Sequence[tuple[str, str]], before: Mapping[str, Group], after: Mapping[str, Group]
) -> Iterator[dict[str, str]]:
    for entry, metric in found:
        old, new = before[entry].unusable.get(metric), after[entry].unusable.get(metric)
        if old == new and old not in _NO_NUMBERS:
            old = new = None  # a text that stays as it is
        for side, text, name in ((after[entry], new, "this session"), (before[entry], old, "the baseline")):
            if text is not None:
                yield {"entry": entry, "metric": metric, "reason": f"no number in {name}: {text}"}
            elif not side.figures.get(metric) and metric not in side.unusable and side.ran:
                yield {"entry": entry, "metric": metric, "reason": f"missing in {name}"}


def _not_run(
    entries: Sequence[str], before: Mapping[str, Group], after: Mapping[str, Group]
) -> Iterator[dict[str, str]]:
    for entry in entries:
        sides = (("this session", after.get(entry)), ("the baseline", before.get(entry)))
        told = {side: _why_no_sample(group) for side, group in sides if group is not None and not group.ran}
        if len(told) == len(sides) and len(set(told.values())) == 1:
            told = {"both sessions": told["this session"]}
        yield from ({"entry": entry, "metric": "", "reason": f"{why} in {side}"} for side, why in told.items())


def _why_no_sample(group: Group) -> str:
    return "failed as expected" if group.as_expected == group.planned else "nothing ran well"
