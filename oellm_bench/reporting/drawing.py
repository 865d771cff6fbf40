"""Draw metrics as SVG that takes its colours from the page around it. Imports matplotlib, which costs half a second."""

from __future__ import annotations

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from oellm_bench.reporting.plots import Plot
from oellm_bench.reporting.visible import visible

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Stand-ins that the page's own colours take the place of, so that light and dark need one drawing.
_INK, _FAINT, _LIMIT = "#0a0b01", "#0a0b02", "#0a0b03"
_LINES = ("#0a0b11", "#0a0b12", "#0a0b13", "#0a0b14", "#0a0b15", "#0a0b16")
_VARIABLES = {
    _INK: "currentColor",
    _FAINT: "var(--faint)",
    _LIMIT: "var(--bad)",
    **{color: f"var(--line-{number})" for number, color in enumerate(_LINES, 1)},
}
_MARKERS = "osD^vP"
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": _FAINT,
    "grid.linewidth": 0.5,
}
_WIDTH_IN = 7.2
_LONGEST_LABEL = 28
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"


def drawing(plot: Plot, name: str) -> str:
    """Return a plot as an `svg` element; the same plot gives the same text. `name` is unique in the page.

    Over earlier sessions a line per group; with one session only a row per group. Whiskers from the least to the
    greatest sample, rings where a new level begins.
    """
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    height = 3.2 if plot.over_time else 0.9 + 0.27 * len(plot.lines)
    with warnings.catch_warnings(), matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": name}):
        warnings.simplefilter("ignore")  # of letters that the measuring font lacks; the reader's has them
        figure = Figure(figsize=(_WIDTH_IN, height), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        (_over_time if plot.over_time else _ranges)(axes, plot)
        text = io.StringIO()
        figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _for_page(text.getvalue(), name, f"Plot of {plot.metric}; its numbers are in the table below it")


def _over_time(axes: Axes, plot: Plot) -> None:
    for line, color, marker in zip(plot.lines, _LINES, _MARKERS, strict=False):
        points = line.series.points
        xs, medians = list(line.places), [point.median for point in points]
        spread = (
            [point.median - point.low for point in points],
            [point.high - point.median for point in points],
        )
        axes.errorbar(
            xs,
            medians,
            spread,
            color=color,
            marker=marker,
            markersize=5,
            linewidth=1.5,
            capsize=3,
            label=_short(line.group),
        )
        for index in line.series.changes:
            axes.plot(xs[index], medians[index], color=color, marker="o", markersize=13, fillstyle="none")
    axes.set_xticks(range(len(plot.sessions)), plot.sessions, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_xlim(-0.4, len(plot.sessions) - 0.6)
    axes.set_ylabel(_short(plot.metric))
    axes.grid(axis="y", alpha=0.6)
    if plot.baseline is not None:
        axes.axvline(plot.baseline, color=_INK, linewidth=1.2, linestyle=":")
    _limits(axes.get_ylim(), plot, lambda limit: axes.axhline(limit, color=_LIMIT, linewidth=1, linestyle="--"))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=9)


def _ranges(axes: Axes, plot: Plot) -> None:
    for row, line in enumerate(plot.lines):
        point = line.series.points[-1]
        axes.plot([point.low, point.high], [row, row], color=_LINES[0], linewidth=2.5, solid_capstyle="butt")
        axes.plot([point.median], [row], color=_LINES[0], marker="o", markersize=6)
    axes.set_yticks(range(len(plot.lines)), [_short(line.group) for line in plot.lines])
    axes.set_ylim(len(plot.lines) - 0.5, -0.5)
    axes.set_xlabel(_short(plot.metric))
    axes.grid(axis="x", alpha=0.6)
    _limits(axes.get_xlim(), plot, lambda limit: axes.axvline(limit, color=_LIMIT, linewidth=1, linestyle="--"))


def _limits(view: tuple[float, float], plot: Plot, draw: Callable[[float], object]) -> None:
    """Draw the bounds that are near what was measured; one far away would leave no room for the rest."""
    low, high = view
    for limit in plot.limits:
        if low - (high - low) <= limit <= high + (high - low):
            draw(limit)


def _short(text: str) -> str:
    flat = visible(text).replace("\n", " ")
    return flat if len(flat) <= _LONGEST_LABEL else f"{flat[: _LONGEST_LABEL - 1]}…"


def _for_page(text: str, name: str, label: str) -> str:
    """Return matplotlib's document as an element among others: ids of its own, no style of its own, a label."""
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    root = ET.fromstring(text)  # noqa: S314  matplotlib wrote it just now
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}style", f"{{{_SVG}}}metadata"):
                parent.remove(child)
    for element in root.iter():
        for key, value in element.attrib.items():
            if key == "id":
                element.set(key, f"{name}-{value}")
            elif key == f"{{{_XLINK}}}href" and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
            else:
                element.set(key, _with_page_colors(value.replace("url(#", f"url(#{name}-")))
    root.set("role", "img")
    root.set("aria-label", visible(label))
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    return ET.tostring(root, encoding="unicode")


def _with_page_colors(value: str) -> str:
    return re.sub("#0a0b[0-9a-f]{2}", lambda match: _VARIABLES.get(match[0], match[0]), value)
