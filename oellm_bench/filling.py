"""Placeholders of an entry's command: parameters, paths of its session, paths with a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from oellm_bench.config.project import ConfiguredPoint
from oellm_bench.config.schema import Project
from oellm_bench.core.launch import LaunchCommand
from oellm_bench.core.layout import EntryLayout, SessionLayout
from oellm_bench.core.plan import PlannedEntry
from oellm_bench.core.resume import PLACEHOLDER, Resume
from oellm_bench.errors import ConfigError, Problem, nearest
from oellm_bench.placeholders import UnknownPlaceholder, by_key_or_suffix, expand, expand_pattern, value_text
from oellm_bench.rendering.shell_line import fill_line

Lookup = Callable[[str], str | None]


def fill(
    launch: LaunchCommand, point: ConfiguredPoint, entry_id: str, name: str, layout: SessionLayout
) -> LaunchCommand:
    """Return the command with every placeholder filled in. Raises ConfigError naming those that have no value."""
    builtin = _builtin(point.project.project.name, entry_id, name, layout, flat=point.project.project.flat)
    parameters = {key: value_text(value) for key, value in point.parameters.items()}
    problems = [
        Problem(
            what=f"parameter '{key}' has the name of a built-in placeholder",
            where=point.variant.provenance.where("sweep"),
            fix="choose another name",
        )
        for key in parameters
        if key in builtin
    ]
    paths = placeholder_paths(point.project)
    lookup = _with_paths(by_key_or_suffix({**parameters, **builtin}, [*parameters]), paths)
    known = [*builtin, *parameters, *(paths or ("dataset:NAME,FORMAT", "path:NAME"))]

    def filled(text: str, fill_in: Callable[[str, Lookup], str] = expand) -> str:
        try:
            return fill_in(text, lookup)
        except ValueError as err:
            problems.append(unfilled(err, point.variant.provenance.where("backend"), known))
        return text

    line = 2 if launch.shell else -1
    argv = tuple(filled(text, fill_line if index == line else expand) for index, text in enumerate(launch.argv))
    environment = {key: filled(value) for key, value in launch.environment.items()}
    cwd = filled(launch.cwd)
    resume = _filled_resume(launch.resume, filled, Path(cwd or Path.cwd()))
    result = replace(launch, argv=argv, environment=environment, cwd=cwd, resume=resume)
    if problems:
        raise ConfigError(problems)
    return result


def _filled_resume(resume: Resume | None, filled: Callable[..., str], cwd: Path) -> Resume | None:
    """Return what is known of a resume before its job runs: all but which checkpoint there will be."""
    if resume is None:
        return None

    def with_checkpoint(text: str, lookup: Lookup) -> str:
        return expand(text, lambda name: PLACEHOLDER if f"{{{name}}}" == PLACEHOLDER else lookup(name))

    def pattern(text: str, lookup: Lookup) -> str:
        return expand_pattern(text, lookup, cwd)

    return replace(
        resume,
        pattern=filled(resume.pattern, pattern),
        arguments=tuple(filled(argument, with_checkpoint) for argument in resume.arguments),
    )


def unfilled(err: ValueError, where: str, known: Sequence[str] = ()) -> Problem:
    """Return the problem of a template that `expand` could not fill in; `known`: names that have a value."""
    if not isinstance(err, UnknownPlaceholder):
        return Problem(what=str(err), where=where)
    fix = "; ".join(filter(None, (nearest(err.name, known), "write {{ and }} for literal braces")))
    return Problem(what=f"{{{err.name}}} has no value", where=where, fix=fix)


def entry_lookup(entry: PlannedEntry, project: str, layout: SessionLayout) -> Lookup:
    """Return the values that an entry's own placeholders have: its parameters, its names, its folders."""
    parameters = {key: value_text(value) for key, value in entry.parameters.items()}
    return by_key_or_suffix({**parameters, **_builtin(project, entry.id, entry.name, layout)}, [*parameters])


def _builtin(project: str, entry_id: str, name: str, layout: SessionLayout, *, flat: bool = False) -> Mapping[str, str]:
    entry = EntryLayout(layout.root / name) if flat else layout.entry(name)
    return {
        "entry_name": name,
        "entry_id": entry_id,
        "project_name": project,
        "session_dir": str(layout.root),
        "session": str(entry.root),
        "session_entry_dir": str(entry.root),
        "benchmark_results_path": str(entry.benchmark_results),
        "scratch": str(entry.scratch),
    }


def placeholder_paths(project: Project) -> dict[str, str]:
    """Return what datasets and paths have a value for, by placeholder: `dataset:name,format`, `path:name`."""
    datasets = {
        f"dataset:{name},{kind}": path for name, formats in project.datasets.items() for kind, path in formats.items()
    }
    return {**datasets, **{f"path:{name}": path for name, path in project.paths.items()}}


def path_key(name: str) -> str | None:
    """Return a placeholder for a named path without its blanks, None for any other placeholder."""
    kind, colon, rest = name.partition(":")
    if not colon or kind not in ("dataset", "path"):
        return None
    return f"{kind}:{','.join(part.strip() for part in rest.split(','))}"


def _with_paths(lookup: Lookup, paths: Mapping[str, str]) -> Lookup:
    def with_paths(wanted: str) -> str | None:
        key = path_key(wanted)
        return lookup(wanted) if key is None else paths.get(key)

    return with_paths
