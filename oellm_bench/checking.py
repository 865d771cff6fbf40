"""Hold a written plan against the cluster it is for, without submitting anything."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.core.slurm_options import input_variable
from oellm_bench.errors import Problem, nearest
from oellm_bench.rendering.directives import directives_in
from oellm_bench.schedulers.base import Partition, Scheduler, Trial
from oellm_bench.submission import Book
from oellm_bench.units import format_slurm_time


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Entries that ask the scheduler for the same, and what it says to that."""

    entries: tuple[PlannedEntry, ...]
    partition: str
    trial: Trial

    @property
    def node_hours(self) -> float:
        """Return the most node-hours these entries can cost without restarts."""
        return sum(entry.resources.node_hours for entry in self.entries)

    @property
    def gpu_hours(self) -> float:
        """Return the most GPU-hours these entries can cost without restarts."""
        return sum(entry.resources.gpu_hours for entry in self.entries)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What the cluster would do with a plan."""

    shapes: tuple[Shape, ...]
    problems: tuple[Problem, ...]


def check_plan(
    book: Book,
    scheduler: Scheduler,
    *,
    datasets: Mapping[str, Mapping[str, str]],
    images: Sequence[str],
    environment: Mapping[str, str],
) -> Report:
    """Ask the scheduler about each distinct resource shape once, and look for the files that entries need.

    `environment` is that of the submission: variables of sbatch's choose what the plan leaves open.
    Raises SchedulerUnavailable.
    """
    partitions = {partition.name: partition for partition in scheduler.partitions()}
    shapes: list[Shape] = []
    problems: dict[Problem, None] = {}
    for options, entries in _by_options(book).items():
        asked = dict(options)
        chosen = asked.get("partition") or environment.get(input_variable("partition"), "")
        chosen = chosen or next((p.name for p in partitions.values() if p.is_default), "")
        trial = scheduler.rehearse(book.request(book.first_attempt(entries[0], 0.0)))
        shapes.append(Shape(entries=tuple(entries), partition=chosen, trial=trial))
        found = list(_partition_problems(chosen, partitions, entries[0]))
        if not trial.accepted and not found:
            found = [Problem(what=trial.message, where=_named(entries))]
        problems.update(dict.fromkeys(found))
    missing = (*_dataset_problems(datasets), *_image_problems(images), *_folder_problems(book.plan))
    problems.update(dict.fromkeys(missing))
    return Report(shapes=tuple(shapes), problems=tuple(problems))


def _by_options(book: Book) -> dict[tuple[tuple[str, str], ...], list[PlannedEntry]]:
    """Return the entries by what their scripts ask of sbatch."""
    heads: dict[str, tuple[tuple[str, str], ...]] = {}
    groups: dict[tuple[tuple[str, str], ...], list[PlannedEntry]] = {}
    for entry in book.plan.entries:
        if entry.script not in heads:
            heads[entry.script] = directives_in((book.layout.root / entry.script).read_text(encoding="utf-8"))
        groups.setdefault(heads[entry.script], []).append(entry)
    return groups


def _partition_problems(chosen: str, known: Mapping[str, Partition], entry: PlannedEntry) -> Iterator[Problem]:
    """Yield why none of the chosen partitions can ever run an entry; a site may let such jobs wait for ever."""
    names = [name for name in chosen.split(",") if name]
    for name in names if known else ():
        if name not in known:
            fix = nearest(name, list(known))
            yield Problem(what=f"there is no partition '{name}' here", where="slurm.sbatch.partition", fix=fix)
    reasons = [reason for name in names if name in known and (reason := _reason_against(known[name], entry))]
    if reasons and len(reasons) == len(names):
        fix = "ask for less, or choose another slurm.sbatch.partition"
        yield Problem(what="; ".join(reasons), where=_named([entry]), fix=fix)


def _reason_against(partition: Partition, entry: PlannedEntry) -> str:
    asked = entry.resources
    if not partition.is_up:
        return f"partition {partition.name} is not up"
    if partition.max_time_s is not None and asked.walltime_s > partition.max_time_s:
        longest = format_slurm_time(partition.max_time_s)
        return f"partition {partition.name} allows {longest}, and {format_slurm_time(asked.walltime_s)} is asked for"
    most = partition.total_nodes if partition.max_nodes is None else min(partition.max_nodes, partition.total_nodes)
    if asked.nodes > most:
        return f"partition {partition.name} gives {most} nodes at the most, and {asked.nodes} are asked for"
    return ""


def _dataset_problems(datasets: Mapping[str, Mapping[str, str]]) -> Iterator[Problem]:
    for name, formats in datasets.items():
        for kind, path in formats.items():
            if "://" not in path and not Path(path).exists():
                fix = "correct the path, or mount what it lies on"
                yield Problem(what=f"'{path}' is not there", where=f"datasets.{name}.{kind}", fix=fix)


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
