"""Hold a written plan against the cluster it is for, without submitting anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from oellm_bench.book import Book
from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.core.resources import Resources
from oellm_bench.core.slurm_options import input_variable
from oellm_bench.errors import Problem, nearest
from oellm_bench.rendering.directives import directives_in, resources
from oellm_bench.schedulers.base import Partition, Scheduler, Trial
from oellm_bench.sinks.base import Sink
from oellm_bench.units import format_slurm_time


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Entries that ask the scheduler for the same, and what it says to that."""

    entries: tuple[PlannedEntry, ...]
    partition: str
    trial: Trial


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the cluster would do with a plan. `warnings`: what looks wrong from here, and the scheduler takes."""

    shapes: tuple[Shape, ...]
    problems: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


Components = tuple[tuple[tuple[str, str], ...], ...]


def check_plan(
    book: Book,
    scheduler: Scheduler,
    *,
    paths: Mapping[str, str],
    images: Sequence[str],
    environment: Mapping[str, str],
) -> Report:
    """Ask the scheduler about each distinct resource shape once, and look for the files that entries need.

    `paths`: by the key of the configuration that names each. `environment` is that of the submission: variables of
    sbatch's choose what the plan leaves open.
    Raises SchedulerUnavailable.
    """
    partitions = {partition.name: partition for partition in scheduler.partitions()}
    default = environment.get(input_variable("partition"), "")
    default = default or next((p.name for p in partitions.values() if p.is_default), "")
    shapes: list[Shape] = []
    problems: dict[Problem, None] = {}
    warnings: dict[Problem, None] = {}
    for components, entries in _by_options(book).items():
        asked = [dict(options) for options in components]
        trial = scheduler.rehearse(book.request(book.first_attempt(entries[0], 0.0)))
        chosen = [options.get("partition") or default for options in asked]
        shapes.append(Shape(entries=tuple(entries), partition=" + ".join(chosen), trial=trial))
        where = _named(entries)
        found = [
            problem
            for name, options in zip(chosen, asked, strict=True)
            for problem in _partition_problems(name, partitions, options, where)
        ]
        if trial.accepted:
            warnings.update(dict.fromkeys(found))
        else:
            problems.update(dict.fromkeys(found or [Problem(what=trial.message, where=where)]))
    problems.update(dict.fromkeys((*missing_inputs(paths, images), *_folder_problems(book.plan))))
    return Report(shapes=tuple(shapes), problems=tuple(problems), warnings=tuple(warnings))


def missing_inputs(paths: Mapping[str, str], images: Sequence[str]) -> list[Problem]:
    """Return which of the named paths and images are not there; what has a scheme (`s3://`) is not looked for."""
    return [*_path_problems(paths), *_image_problems(images)]


def sink_problems(sinks: Mapping[str, PluginConfig]) -> list[Problem]:
    """Return what keeps sinks from working here: secrets that are not set, packages that are not installed."""
    return [
        replace(problem, where=f"sinks.{name}.{problem.where}")
        for name, config in sinks.items()
        for problem in config.instantiate(Sink).problems()
    ]


def _by_options(book: Book) -> dict[Components, list[PlannedEntry]]:
    """Return the entries by what their scripts ask of sbatch."""
    heads: dict[str, Components] = {}
    groups: dict[Components, list[PlannedEntry]] = {}
    for entry in book.plan.entries:
        if entry.script not in heads:
            heads[entry.script] = directives_in((book.layout.root / entry.script).read_text(encoding="utf-8"))
        groups.setdefault(heads[entry.script], []).append(entry)
    return groups


def _partition_problems(
    chosen: str, known: Mapping[str, Partition], options: Mapping[str, str], where: str
) -> Iterator[Problem]:
    """Yield why none of the chosen partitions can ever run this; a site may let such jobs wait for ever."""
    names = [name for name in chosen.split(",") if name]
    for name in names if known else ():
        if name not in known:
            fix = f"{nearest(name, list(known))}; set slurm.sbatch.partition"
            yield Problem(what=f"there is no partition '{name}' here", where=where, fix=fix)
    asked = resources(options, walltime_s=0)
    reasons = [reason for name in names if name in known and (reason := _reason_against(known[name], asked))]
    if reasons and len(reasons) == len(names):
        fix = "ask for less, or choose another slurm.sbatch.partition"
        yield Problem(what="; ".join(reasons), where=where, fix=fix)


def _reason_against(partition: Partition, asked: Resources) -> str:
    if not partition.is_up:
        return f"partition {partition.name} is not up"
    if partition.max_time_s is not None and asked.walltime_s > partition.max_time_s:
        longest = format_slurm_time(partition.max_time_s)
        return f"partition {partition.name} allows {longest}, and {format_slurm_time(asked.walltime_s)} is asked for"
    most = partition.total_nodes if partition.max_nodes is None else min(partition.max_nodes, partition.total_nodes)
    if asked.nodes > most:
        return f"partition {partition.name} gives {most} nodes at the most, and {asked.nodes} are asked for"
    return ""


def _path_problems(paths: Mapping[str, str]) -> Iterator[Problem]:
    for key, path in paths.items():
        if "://" not in path and not Path(path).exists():
            fix = "correct the path, or mount what it lies on"
            yield Problem(what=f"'{path}' is not there", where=key, fix=fix)


def _image_problems(images: Sequence[str]) -> Iterator[Problem]:
    for image in images:
        if not Path(image).exists():
            fix = "build it, or correct the path"
            yield Problem(what=f"image '{image}' is not there", where="container.image", fix=fix)


def _folder_problems(plan: Plan) -> Iterator[Problem]:
    for folder in dict.fromkeys(entry.cwd for entry in plan.entries):
        if folder and not Path(folder).is_dir():
            yield Problem(what=f"'{folder}' is not there", where="backend.cwd", fix="make it, or correct the path")


def _named(entries: Sequence[PlannedEntry]) -> str:
    more = f" and {len(entries) - 1} more" if len(entries) > 1 else ""
    return f"entry {entries[0].name}{more}"
