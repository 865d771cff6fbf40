"""The stages of a session as Mermaid source, for pages that draw it: https://mermaid.js.org/syntax/flowchart.html."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from oellm_bench.reporting.report import StageReport, kind_of
from oellm_bench.reporting.visible import visible

_MOST_EDGES = 400  # Mermaid refuses more than 500 (its setting maxEdges)
_LONGEST_NAME = 80
_PLAIN = frozenset(" _,()/")
# Fill and line of white text; those of the page around.
_COLORS = {"good": "#217a3b", "bad": "#c43c33", "neutral": "#85742a", "live": "#2f6fb3"}


def mermaid(stages: Sequence[StageReport]) -> str:
    """Return a flowchart from left to right, a node for each stage with its counts, coloured by the worst of them."""
    return "\n".join(["flowchart LR", *(f"    {line}" for line in _lines(stages))]) + "\n"


def _lines(stages: Sequence[StageReport]) -> Iterator[str]:
    nodes = {stage.name: f"s{number}" for number, stage in enumerate(stages)}
    for stage in stages:
        kind = kind_of(stage.worst)
        label = f"{visible(stage.name, _LONGEST_NAME)}: {stage.told}"
        yield f'{nodes[stage.name]}["{_escaped(label)}"]{f":::{kind}" if kind else ""}'
    edges = [
        f"{nodes[before]} -->|{count}| {nodes[stage.name]}"
        for stage in stages
        for before, count in stage.after.items()
        if before in nodes
    ]
    yield from edges[:_MOST_EDGES]
    for kind, color in _COLORS.items():
        yield f"classDef {kind} fill:{color},stroke:{color},color:#ffffff"


def _escaped(text: str) -> str:
    """Return a text in which whatever may mean something to Mermaid, Markdown or HTML is a number: `#34;` for `"`."""
    return "".join(letter if letter.isalnum() or letter in _PLAIN else f"#{ord(letter)};" for letter in text)
