"""Where the stages of a session lie in a drawing, from left to right: coordinates, the template makes SVG of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from oellm_bench.reporting.report import StageReport, Standing, kind_of
from oellm_bench.stages import layers

MOST_STAGES = 60
_WIDTH, _HEIGHT = 176.0, 62.0  # of a box
_BESIDE, _BELOW = 64.0, 18.0  # room between boxes
_PASSING = 14.0  # room for a line that passes a column
_MARGIN = 6.0
_BAR = 8.0
_LONGEST_NAME = 20  # characters that fit into a box
_MARKS = {"good": "✓", "bad": "✗", "neutral": "\u2013", "live": "…"}

# What takes room in a column: a stage, by its name, or a line on its way from one stage to another.
_Slot = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Box:
    """One stage. `shares`: (x, width, kind) of its entries by how they stand, `marks` the same as text."""

    x: float
    y: float
    label: str
    size: str
    marks: str
    title: str
    shares: tuple[tuple[float, float, str], ...]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """The drawing; `lines` are (path, title). `left_out` stages are not in it."""

    width: float
    height: float
    box: tuple[float, float]
    bar: float
    boxes: tuple[Box, ...]
    lines: tuple[tuple[str, str], ...]
    left_out: int


def stage_chart(stages: Sequence[StageReport]) -> Chart:
    """Return the drawing of one stage or more, each to the right of those it waits for."""
    shown = {stage.name: stage for stage in stages[:MOST_STAGES]}
    after = {name: [other for other in stage.after if other in shown] for name, stage in shown.items()}
    layout = _Layout(after)
    return Chart(
        width=len(layout.columns) * (_WIDTH + _BESIDE) - _BESIDE + 2 * _MARGIN,
        height=layout.tallest + 2 * _MARGIN,
        box=(_WIDTH, _HEIGHT),
        bar=_BAR,
        boxes=tuple(_box(stage, *layout.corner(name)) for name, stage in shown.items()),
        lines=tuple(
            (layout.line(before, name), f"{name} after {before}: {shown[name].after[before]}")
            for name, others in after.items()
            for before in others
            if before != name
        ),
        left_out=len(stages) - len(shown),
    )


class _Layout:
    """Columns of slots, and the height at which the middle of each lies: near what leads to it."""

    def __init__(self, after: Mapping[str, Sequence[str]]) -> None:
        self._after = after
        self.columns: list[list[_Slot]] = [[(name,) for name in layer] for layer in layers(after)]
        self._place = {slot[0]: place for place, column in enumerate(self.columns) for slot in column}
        for name, others in after.items():
            for before in others:
                for place in self._between(before, name):
                    self.columns[place].append((before, name))
        self.tallest = max(_height(column) for column in self.columns)
        self._middle: dict[tuple[int, _Slot], float] = {}
        for place, column in enumerate(self.columns):
            self._put(place, column)

    def corner(self, name: str) -> tuple[float, float]:
        """Return the left and upper end of a box."""
        place = self._place[name]
        return _left(place), round(self._middle[place, (name,)] - _HEIGHT / 2, 1)

    def line(self, before: str, name: str) -> str:
        """Return the path from one box to another, past those between them."""
        first, last = self._place[before], self._place[name]
        x, y = _left(first) + _WIDTH, self._middle[first, (before,)]
        path = [f"M{x} {y:.1f}"]
        for place in self._between(before, name):
            path.append(_curve(x, y, _left(place), self._middle[place, (before, name)]))
            x, y = _left(place) + _WIDTH, self._middle[place, (before, name)]
            path.append(f"H{x}")
        return " ".join([*path, _curve(x, y, _left(last), self._middle[last, (name,)])])

    def _between(self, before: str, name: str) -> range:
        return range(self._place[before] + 1, self._place[name])

    def _put(self, place: int, column: list[_Slot]) -> None:
        column.sort(key=lambda slot: self._pull(place, slot))
        y = _MARGIN + (self.tallest - _height(column)) / 2
        for slot in column:
            self._middle[place, slot] = y + _room(slot) / 2
            y += _room(slot) + _BELOW

    def _pull(self, place: int, slot: _Slot) -> float:
        """Return how high what leads to a slot lies on average."""
        name = slot[-1]
        origins = [slot[0]] if len(slot) > 1 else self._after[name]
        slots = [found for before in origins for found in ((before,), (before, name))]
        heights = [self._middle[place - 1, found] for found in slots if (place - 1, found) in self._middle]
        return sum(heights) / len(heights) if heights else 0.0


def _room(slot: _Slot) -> float:
    return _HEIGHT if len(slot) == 1 else _PASSING


def _height(column: Sequence[_Slot]) -> float:
    return sum(map(_room, column)) + _BELOW * (len(column) - 1)


def _left(place: int) -> float:
    return _MARGIN + place * (_WIDTH + _BESIDE)


def _curve(x: float, y: float, to_x: float, to_y: float) -> str:
    middle = (x + to_x) / 2
    return f"C{middle} {y:.1f} {middle} {to_y:.1f} {to_x} {to_y:.1f}"


def _box(stage: StageReport, x: float, y: float) -> Box:
    counts: dict[str, int] = {}
    for standing in reversed(Standing):
        if count := stage.counts.get(standing, 0):
            kind = kind_of(standing)
            counts[kind] = counts.get(kind, 0) + count
    shares, at = [], x
    for kind, count in counts.items():
        width = _WIDTH * count / stage.planned
        shares.append((round(at, 1), round(width, 1), kind))
        at += width
    name = stage.name
    return Box(
        x=x,
        y=y,
        label=name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…",
        size=f"{stage.planned} {'entry' if stage.planned == 1 else 'entries'}",
        marks="  ".join(f"{_MARKS[kind]} {count}" for kind, count in counts.items()),
        title=f"{name}: {stage.told}",
        shares=tuple(shares),
    )
