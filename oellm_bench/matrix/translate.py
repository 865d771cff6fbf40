"""A matrix as entries of a campaign."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from typing import Any

from oellm_bench.config.overlays import Overlay
from oellm_bench.errors import ConfigError, Problem
from oellm_bench.matrix.document import Node
from oellm_bench.matrix.entry import EntryTranslation
from oellm_bench.matrix.sinks import configurations
from oellm_bench.matrix.source import Source

_SINK_NAME = re.compile(r"[A-Za-z0-9_-]+")
# Where people who know the older tools look for these, in an entry's folder.
_LINKS = {"logs": "attempts/{attempt}"}
_MERGED_LINKS = {
    **_LINKS,
    "stdouterr.log": "attempts/{attempt}/stdout.log",
    "params.json": "benchmark_results/params.json",
    "metrics.json": "benchmark_results/metrics.json",
    "tasks.pkl": "benchmark_results/tasks.pkl",
}


def overlays(source: Source, base_binds: Sequence[str]) -> list[Overlay]:
    """Return one overlay for each run of each entry. Raises ConfigError with every problem of every entry."""
    problems = [*_whole_problems(source)]
    found: dict[str, Overlay] = {}
    if not problems:
        shared = _shared(source, base_binds)
        for number, entry in enumerate(source.matrix.entries):
            made = EntryTranslation(source, entry, f"entries.{number}")
            for overlay in made.overlays(shared):
                if found.setdefault(overlay.name, overlay) is not overlay:
                    what = f"two entries would be called '{overlay.name}': one of them by its repetitions"
                    where = source.document.find(f"entries.{number}.name").where
                    problems.append(Problem(what=what, where=where, fix="choose another name"))
            problems += made.problems
    if problems:
        raise ConfigError(problems)
    return [*found.values()]


def _whole_problems(source: Source) -> Iterator[Problem]:
    matrix, where = source.matrix, source.document.where
    if not matrix.results_dir and "results_path" not in source.paths:
        fix = "give results_dir, or a path with the name results_path"
        yield Problem(what="there is no folder for results", where=where, fix=fix)
    if not matrix.entries:
        yield Problem(what="there are no entries", where=where, fix="give entries, with enabled: true")
    if matrix.viewer_url and matrix.viewer_url_template:
        place = source.document.find("viewer_url_template").where
        yield Problem(what="viewer_url and viewer_url_template exclude each other", where=place, fix="keep one")
    for sink in source.document.find("sinks").items():
        named = sink.get("name")
        if named is None:
            yield Problem(what="a sink has no name", where=sink.where, fix="give name: mlflow, slack, ...")
        elif not _SINK_NAME.fullmatch(str(named.value)):
            fix = "use letters, digits, - and _"
            yield Problem(what=f"'{named.value}' cannot be the name of a sink", where=named.where, fix=fix)
    if matrix.max_timeout_s is not None and not 0 < matrix.max_timeout_s < math.inf:
        place = source.document.find("max_timeout_s").where
        yield Problem(what=f"{matrix.max_timeout_s:g} s is no time", where=place, fix="give a number above 0, or null")
    for section in ("entries", "paths", "datasets", "sinks"):
        yield from _twice(source.document.find(section), section)


def _twice(listed: Node, section: str) -> Iterator[Problem]:
    seen: dict[Any, str] = {}
    for item in listed.items():
        named = item.get("name")
        if named is not None and named.value in seen:
            what = f"two of the {section} are called '{named.value}' (the other in {seen[named.value]})"
            yield Problem(what=what, where=named.where, fix="give each its own name")
        elif named is not None:
            seen[named.value] = named.where


def _shared(source: Source, base_binds: Sequence[str]) -> dict[str, Any]:
    """Return what all entries have in common."""
    matrix = source.matrix
    template = matrix.viewer_url_template or matrix.viewer_url.replace("{", "{{").replace("}", "}}")
    values: dict[str, Any] = {
        "project.name": source.project,
        "project.base_output_dir": source.results_dir,
        "project.artifacts_dir": matrix.artifacts_dir,
        "project.run_reason": matrix.run_reason,
        "project.viewer_url": template,
        "project.flat": True,
        "project.links": dict(_LINKS if source.older else _MERGED_LINKS),
        "project.merge_output": not source.older,
    }
    if matrix.gpu_stats_recorder.interval_s:
        values["capture.interval_s"] = matrix.gpu_stats_recorder.interval_s
    if matrix.cleanup_timeout_s is not None:
        values["slurm.cleanup_s"] = matrix.cleanup_timeout_s
    if source.contained:
        mapped = [f"{p.host_path}:{p.container_path}" for p in matrix.paths if p.container_path]
        values["container.binds"] = [*base_binds, *mapped]
    for name, (settings, _) in configurations(source.document.find("sinks")).items():
        values[f"sinks.{name}"] = dict(settings)
    return values
