"""Placeholders of an entry's command: parameters, paths of its session, paths with a name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from oellm_bench.backends.toml import in_string
from oellm_bench.config.project import ConfiguredPoint
from oellm_bench.config.schema import Project
from oellm_bench.core.launch import LaunchCommand
from oellm_bench.core.layout import EntryLayout, SessionLayout
from oellm_bench.core.plan import PlannedEntry
from oellm_bench.core.resume import ITERATION, PLACEHOLDER, Resume
from oellm_bench.errors import ConfigError, Problem, nearest
from oellm_bench.naming import file_problems
from oellm_bench.placeholders import SIBLING, UnknownPlaceholder, by_key_or_suffix, expand, expand_pattern, value_text
from oellm_bench.rendering.shell_line import fill_line

Lookup = Callable[[str], str | None]


@dataclass(frozen=True)
class Own:
    """What an entry is called: its id, its name, and the names of those of other stages that it refers to."""

    id: str
    name: str
    siblings: Mapping[str, str]


def fill(
    launch: LaunchCommand, point: ConfiguredPoint, own: Own, layout: SessionLayout
) -> tuple[LaunchCommand, Mapping[str, Any]]:
    """Return the command with every placeholder filled in, and the parameters with those of other stages.

    Raises ConfigError naming those that have no value.
    """
    flat = point.project.project.flat
    builtin = _builtin(point.project.project.name, own, layout, flat=flat)
    values = point.parameters
    if own.siblings:
        values = {key: _with_siblings(value, own.siblings, layout, flat=flat) for key, value in values.items()}
    parameters = {key: value_text(value) for key, value in values.items()}
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
    files = {name: filled(text, _filling_in(name)) for name, text in launch.files.items()}
    problems += file_problems(files, point.project.project.links, point.variant.provenance.where("backend"))
    result = replace(launch, argv=argv, environment=environment, cwd=cwd, resume=resume, files=files)
    if problems:
        raise ConfigError(problems)
    return result, values


def _filling_in(name: str) -> Callable[[str, Lookup], str]:
    """Return what fills a file of that name in: JSON escapes what stands in a string, and TOML's strings are alike."""
    if not name.endswith((".toml", ".json")):
        return expand

    def inside_strings(text: str, lookup: Lookup) -> str:
        def escaped(wanted: str) -> str | None:
            value = lookup(wanted)
            return None if value is None else in_string(value)

        return expand(text, escaped)

    return inside_strings


def _filled_resume(resume: Resume | None, filled: Callable[..., str], cwd: Path) -> Resume | None:
    """Return what is known of a resume before its job runs: all but which checkpoint there will be."""
    if resume is None:
        return None

    def with_checkpoint(text: str, lookup: Lookup) -> str:
        of_the_job = {placeholder[1:-1]: placeholder for placeholder in (PLACEHOLDER, ITERATION)}
        return expand(text, lambda name: of_the_job.get(name) or lookup(name))

    def pattern(text: str, lookup: Lookup) -> str:
        return expand_pattern(text, lookup, cwd)

    return replace(
        resume,
        pattern=filled(resume.pattern, pattern),
        arguments=tuple(filled(argument, with_checkpoint) for argument in resume.arguments),
        without=tuple(filled(argument) for argument in resume.without),
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
    own = Own(entry.id, entry.name, entry.siblings)
    return by_key_or_suffix({**parameters, **_builtin(project, own, layout)}, [*parameters])


def _builtin(project: str, own: Own, layout: SessionLayout, *, flat: bool = False) -> Mapping[str, str]:
    found = {
        **_folders(own.name, layout, flat=flat),
        "entry_id": own.id,
        "project_name": project,
        "session_dir": str(layout.root),
    }
    for stage, name in own.siblings.items():
        fields = _folders(name, layout, flat=flat)
        found |= {f"{SIBLING}{stage}.{field}": value for field, value in fields.items()}
        found |= {f"{SIBLING}{stage}.name": name, f"{SIBLING}{stage}.output_dir": fields["session_entry_dir"]}
    return found


def _folders(name: str, layout: SessionLayout, *, flat: bool) -> dict[str, str]:
    entry = EntryLayout(layout.root / name) if flat else layout.entry(name)
    return {
        "entry_name": name,
        "session": str(entry.root),
        "session_entry_dir": str(entry.root),
        "benchmark_results_path": str(entry.benchmark_results),
        "scratch": str(entry.scratch),
    }


def _with_siblings(value: Any, siblings: Mapping[str, str], layout: SessionLayout, *, flat: bool) -> Any:
    """Return a parameter with what it says of other entries filled in; nothing else in it is a placeholder."""
    if isinstance(value, Mapping):
        return {key: _with_siblings(item, siblings, layout, flat=flat) for key, item in value.items()}
    if isinstance(value, list):
        return [_with_siblings(item, siblings, layout, flat=flat) for item in value]
    if isinstance(value, str) and f"{{{SIBLING}" in value:
        for name, text in _builtin("", Own("", "", siblings), layout, flat=flat).items():
            value = value.replace(f"{{{name}}}", text) if name.startswith(SIBLING) else value
    return value


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
