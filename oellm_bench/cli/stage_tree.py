"""The stages of a plan on a terminal, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text
from rich.tree import Tree

from oellm_bench.cli.table import cell
from oellm_bench.stages import Stage

_MOST_STAGES = 60


def stage_tree(stages: Sequence[Stage]) -> Tree:
    """Return a tree in which each stage stands once, below the last one of those it waits for.

    rich draws it within the terminal's width, and with ASCII where stdout takes nothing else.
    """
    root = Tree(Text("stages, each below what it waits for:"))
    branches: dict[str, Tree] = {}
    for stage in stages[:_MOST_STAGES]:
        above = [name for name in branches if name in stage.after]
        parent = branches[above[-1]] if above else root
        branches[stage.name] = parent.add(Text(cell(_line(stage, above[-1:]))))
    if len(stages) > _MOST_STAGES:
        root.add(Text(f"... and {len(stages) - _MOST_STAGES} more (--json has all)"))
    return root


def _line(stage: Stage, above: Sequence[str]) -> str:
    costs = [f"{stage.node_hours:.4g} node-hours"]
    if stage.gpu_hours:
        costs.append(f"{stage.gpu_hours:.4g} GPU-hours")
    further = [name for name in stage.after if name not in (*above, stage.name)]
    if further:
        costs.append(f"also after {' and '.join(further)}")
    if count := stage.after.get(stage.name):
        costs.append(f"{count} {'time' if count == 1 else 'times'} after itself")
    count = len(stage.entries)
    return f"{stage.name}: {count} {'entry' if count == 1 else 'entries'}, {', '.join(costs)}"


def stage_documents(stages: Sequence[Stage]) -> list[dict[str, Any]]:
    """Return what `plan --json` says of stages; `after`: how many dependencies lead to which other stage."""
    return [
        {
            "stage": stage.name,
            "entries": len(stage.entries),
            "node_hours": stage.node_hours,
            "gpu_hours": stage.gpu_hours,
            "after": dict(stage.after),
        }
        for stage in stages
    ]
