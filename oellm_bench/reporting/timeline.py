"""Where the attempts of a session lie in time, as a drawing: coordinates only, the template makes SVG of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oellm_bench.reporting.report import AttemptReport, EntryReport, Report
from oellm_bench.units import format_duration

MOST_ROWS = 60
WIDTH = 1000.0
_NAMES = 220.0  # the column of names
_RIGHT = WIDTH - 20.0
_ROW = 26.0
_TOP = 28.0
_BAR = 18.0
_NARROWEST = 4.0
_CHARACTER = 6.6  # about, of the labels' font
_LONGEST_NAME = 32  # characters that fit into the column
_MOST_TICKS = 8
_STEPS_S = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 43200, 86400)
_MARKS = {"good": "✓", "bad": "✗", "neutral": "\u2013", "live": "…"}
_NEUTRAL = ("cancelled", "preempted", "dependency_failed")


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One attempt. `waited` is where its waiting in the queue began; `kind`: good, bad, neutral, live."""

    x: float
    y: float
    width: float
    height: float
    waited: float
    kind: str
    label: str
    label_x: float
    inside: bool
    title: str


@dataclass(frozen=True, kw_only=True)
class Row:
    """One entry."""

    name: str
    label: str
    y: float
    baseline: float
    bars: tuple[Bar, ...]


@dataclass(frozen=True, kw_only=True)
class Timeline:
    """The drawing; `ticks` are (x, label). `left_out` entries are not in it."""

    width: float
    height: float
    left: float
    rows: tuple[Row, ...]
    ticks: tuple[tuple[float, str], ...]
    left_out: int


def timeline(report: Report) -> Timeline | None:
    """Return the drawing of the most interesting entries by their first start, None where there is no attempt."""
    drawn = [entry for entry in report.by_interest if any(_begin(a) is not None for a in entry.attempts)]
    shown = sorted(drawn[:MOST_ROWS], key=lambda entry: _first(entry) or 0.0)
    if not shown:
        return None
    begin = min(first for entry in shown if (first := _first(entry)) is not None)
    ends = [_end(a, report.now) for entry in shown for a in entry.attempts if _begin(a) is not None]
    scale = _Scale(begin=begin, span=max(max(ends) - begin, 0.001))
    rows = tuple(_row(entry, number, scale, report.now) for number, entry in enumerate(shown))
    return Timeline(
        width=WIDTH,
        height=_TOP + _ROW * len(rows) + 6,
        left=_NAMES,
        rows=rows,
        ticks=_ticks(scale),
        left_out=len(drawn) - len(shown),
    )


@dataclass(frozen=True)
class _Scale:
    begin: float
    span: float

    def x(self, at: float) -> float:
        share = min(max((at - self.begin) / self.span, 0.0), 1.0)
        return round(_NAMES + share * (_RIGHT - _NAMES), 1)


def _begin(attempt: AttemptReport) -> float | None:
    return attempt.submitted_at or attempt.started_at or attempt.ended_at


def _end(attempt: AttemptReport, now: float) -> float:
    begin = attempt.started_at or _begin(attempt) or now
    return max(attempt.ended_at if attempt.over and attempt.ended_at else now, begin)


def _first(entry: EntryReport) -> float | None:
    return min((begin for attempt in entry.attempts if (begin := _begin(attempt)) is not None), default=None)


def _row(entry: EntryReport, number: int, scale: _Scale, now: float) -> Row:
    y = _TOP + number * _ROW
    label = entry.name if len(entry.name) <= _LONGEST_NAME else f"{entry.name[: _LONGEST_NAME - 1]}…"
    attempts = [attempt for attempt in entry.attempts if _begin(attempt) is not None]
    bounds = [(scale.x(_start(attempt)), scale.x(_end(attempt, now))) for attempt in attempts]
    bars = tuple(
        _bar(attempt, y, x, right, scale, room=_room(bounds, place))
        for place, (attempt, (x, right)) in enumerate(zip(attempts, bounds, strict=True))
    )
    return Row(name=entry.name, label=label, y=y, baseline=y + _ROW / 2 + 4, bars=bars)


def _start(attempt: AttemptReport) -> float:
    return attempt.started_at or _begin(attempt) or 0.0


def _room(bounds: Sequence[tuple[float, float]], place: int) -> float:
    """Return where the next attempt's bar begins, or the drawing ends."""
    return bounds[place + 1][0] if place + 1 < len(bounds) else WIDTH


def _bar(attempt: AttemptReport, y: float, x: float, right: float, scale: _Scale, *, room: float) -> Bar:
    width = max(right - x, _NARROWEST)
    x = min(x, _RIGHT - width)
    kind = _kind(attempt)
    inside, label = _label(attempt, kind, width, room - (x + width))
    waited = attempt.submitted_at if attempt.submitted_at is not None else _start(attempt)
    return Bar(
        x=x,
        y=y + (_ROW - _BAR) / 2,
        width=round(width, 1),
        height=_BAR,
        waited=min(scale.x(waited), x),
        kind=kind,
        label=label,
        label_x=x + 4 if inside else round(x + width + 4, 1),
        inside=inside,
        title=_title(attempt),
    )


def _kind(attempt: AttemptReport) -> str:
    if not attempt.over:
        return "live"
    if attempt.outcome in _NEUTRAL:
        return "neutral"
    return "good" if attempt.outcome == "success" else "bad"


def _label(attempt: AttemptReport, kind: str, width: float, beside: float) -> tuple[bool, str]:
    """Return the longest label there is room for, and whether that is inside of the bar."""
    mark = _MARKS[kind]
    for text in (f"{mark} {attempt.outcome}", mark):
        needed = len(text) * _CHARACTER + 8
        if needed <= width:
            return True, text
        if needed <= beside:
            return False, text
    return True, ""


def _title(attempt: AttemptReport) -> str:
    started, ended = attempt.started_at, attempt.ended_at
    ran = f", ran {format_duration(ended - started)}" if started and ended and ended >= started else ""
    waited = ""
    if attempt.submitted_at and started and started > attempt.submitted_at:
        waited = f", waited {format_duration(started - attempt.submitted_at)}"
    where = f", job {attempt.job_id}" if attempt.job_id else ""
    return f"attempt {attempt.number}: {attempt.outcome}{where}{waited}{ran}"


def _ticks(scale: _Scale) -> tuple[tuple[float, str], ...]:
    """Return the marks of the time since the first submission, at round times."""
    step = next((s for s in _STEPS_S if scale.span / s < _MOST_TICKS), None)
    if step is None:  # many days
        step = 86400.0 * (int(scale.span / 86400 / _MOST_TICKS) + 1)
    times = [number * step for number in range(int(scale.span / step) + 1)]
    return tuple((scale.x(scale.begin + at), _tick(at)) for at in times)


def _tick(at: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if at >= size:
            return f"{at / size:g} {unit}" if at % size in (0, size / 2) else format_duration(at)
    return f"{at:g} s"
