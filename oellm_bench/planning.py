"""From a composed configuration to the plan and its scripts: pure, touches no disk and no scheduler."""

from __future__ import annotations

import itertools
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from oellm_bench.backends.arguments import to_argv
from oellm_bench.backends.base import Backend
from oellm_bench.config.allocation import backend_job_spec, resources_of
from oellm_bench.config.check import problems_of
from oellm_bench.config.project import ConfiguredPoint, configured_points
from oellm_bench.config.schema import Project
from oellm_bench.config.variant import Composition
from oellm_bench.core.launch import LaunchCommand
from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.plan import Plan, PlannedEntry, to_lines
from oellm_bench.errors import ConfigError, Problem, nearest
from oellm_bench.filling import Own, fill
from oellm_bench.identifying import fingerprint_of, identity_of, paths_of
from oellm_bench.launchers.base import Launcher, Place
from oellm_bench.launchers.srun import srun_argv
from oellm_bench.leaks import refuse_secrets
from oellm_bench.naming import STAGE, entry_name, repetition_names, without_repetition
from oellm_bench.ordering import with_predecessors
from oellm_bench.placeholders import UnknownPlaceholder, value_text
from oellm_bench.rendering import directives as sbatch
from oellm_bench.scripting import render
from oellm_bench.watch import WatchTable


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """A plan with everything that is written beside it.

    `scripts`: text by path relative to the session folder. `project`: the first point's configuration, whose
    campaign-wide parts (project, slurm.client, sinks) hold for all. `images`: files that the entries' containers need;
    `inputs`: the paths that have a name, of all entries, by the key that says so.
    """

    plan: Plan
    scripts: Mapping[str, str]
    config_text: str
    project: Project
    images: tuple[str, ...] = ()
    inputs: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Draft:
    """An entry before the session folder is known: everything that its identity depends on."""

    id: str
    name: str
    group: str
    point: ConfiguredPoint
    launch: LaunchCommand
    launcher: tuple[str, ...]
    container: Launcher
    contract: bool
    siblings: Mapping[str, _Draft]


def plan_campaign(composition: Composition, session_dir: Path, previous: Mapping[str, int] | None = None) -> Campaign:
    """Plan all entries of a composed campaign; see `plan_points`."""
    config_text = "---\n".join(OmegaConf.to_yaml(config) for config in composition.configs)
    return plan_points(configured_points(composition), config_text, session_dir, previous)


def plan_points(
    points: Sequence[ConfiguredPoint], config_text: str, session_dir: Path, previous: Mapping[str, int] | None = None
) -> Campaign:
    """Plan one entry for each point, for `session_dir` (absolute).

    `previous`: indices by entry id of an earlier plan of the same session; entries in it keep theirs. `config_text`:
    what they were configured by, for people. Raises ConfigError with every problem of every entry.
    """
    drafts = _drafts(points)
    numbers = _numbers(drafts, previous or {})
    watch = WatchTable()
    problems: dict[Problem, None] = {}
    entries: list[tuple[PlannedEntry, ConfiguredPoint]] = []
    for draft in drafts:
        try:
            entry = _entry(draft, numbers[draft.id], watch.index(draft.point.project), session_dir)
        except ConfigError as err:
            problems.update(dict.fromkeys(err.problems))
            continue
        entries.append((entry, draft.point))
    if problems:
        raise ConfigError(problems)
    entries.sort(key=lambda pair: pair[0].index)
    planned, scripts = render(with_predecessors(entries, SessionLayout(session_dir)), session_dir)
    project = points[0].project
    used = {draft.id: paths_of(draft.launch, draft.point.project) for draft in drafts}
    plan = Plan(
        project=project.project.name,
        fingerprint=fingerprint_of(project.project.name, planned, used),
        entries=tuple(planned),
        watch=tuple(watch.settings),
    )
    files = (text for entry in planned for text in entry.files.values())  # in the plan they are escaped once more
    refuse_secrets(itertools.chain(to_lines(plan), (config_text,), scripts.values(), files), os.environ)
    containers = {id(point.project.container): point.project.container for point in points}.values()
    images = dict.fromkeys(container.instantiate(Launcher).image() for container in containers)
    return Campaign(
        plan=plan,
        scripts=scripts,
        config_text=config_text,
        project=project,
        images=tuple(image for image in images if image),
        inputs={key: path for point in points for key, path in point.project.named_paths().items()},
    )


def _drafts(points: Sequence[ConfiguredPoint]) -> list[_Draft]:
    problems: dict[Problem, None] = {}
    drafts: dict[int, _Draft] = {}
    checked: set[int] = set()

    def draft(point: ConfiguredPoint) -> None:
        """Make the draft of a point, after those of the points it refers to."""
        if id(point) in drafts:
            return
        for sibling in point.siblings.values():
            draft(sibling)
        found = problems_of(point, checked)
        problems.update(dict.fromkeys(found))
        if found or any(id(sibling) not in drafts for sibling in point.siblings.values()):
            return
        try:
            drafts[id(point)] = _draft(point, {stage: drafts[id(other)] for stage, other in point.siblings.items()})
        except ValueError as err:
            where = point.variant.provenance.where("sweep.name_template")
            problems[_nameless(err, point, where)] = None

    for point in points:
        draft(point)
    ordered = [drafts[id(point)] for point in points if id(point) in drafts]
    problems.update(dict.fromkeys(_clashes(ordered)))
    if problems:
        raise ConfigError(problems)
    return ordered


def _draft(point: ConfiguredPoint, siblings: Mapping[str, _Draft]) -> _Draft:
    project = point.project
    backend = project.backend.instantiate(Backend)
    launch = backend.build_launch_command(backend_job_spec(project))
    environment = {name: value_text(value) for name, value in project.slurm.environment.items()}
    launcher = (*srun_argv(project.slurm.srun), *to_argv(project.slurm.launcher_cmd))
    launch = replace(launch, environment={**environment, **launch.environment})
    container: Launcher = project.container.instantiate(Launcher)
    if container.isolates and launch.argv[0] == sys.executable:
        launch = replace(launch, argv=("python3", *launch.argv[1:]))  # the image has its own
    sibling_ids = {stage: sibling.id for stage, sibling in siblings.items()}
    entry_id = identity_of(point, launch, launcher, sibling_ids)
    shared = replace(point, parameters=without_repetition(point.parameters))
    name, group = _names(point, entry_id, lambda: identity_of(shared, launch, launcher, {}))
    return _Draft(
        id=entry_id,
        name=name,
        group=group,
        point=point,
        launch=launch,
        launcher=launcher,
        container=container,
        contract=backend.contract,
        siblings=siblings,
    )


def _names(point: ConfiguredPoint, entry_id: str, shared_id: Callable[[], str]) -> tuple[str, str]:
    """Return the name of an entry and that of its group; `shared_id`: the id that its repetitions share."""
    sweep, project = point.project.sweep, point.project.project.name
    named_by = point.parameters if sweep.name_template else point.name_parameters
    if point.name or sweep.repeat == 1:
        name = point.name or entry_name(sweep.name_template, named_by, entry_id, project)
        return name, point.group or name
    name, group = repetition_names(sweep.name_template, named_by, (entry_id, shared_id()), project)
    return name, point.group or group


def _nameless(err: ValueError, point: ConfiguredPoint, where: str) -> Problem:
    """Return why a template makes no name for a point."""
    if not isinstance(err, UnknownPlaceholder):
        return Problem(what=str(err), where=where)
    stage = f" in stage '{point.parameters[STAGE]}'" if STAGE in point.parameters else ""
    hint = nearest(err.name, [*point.parameters, "id", "project_name"])
    fix = f"{hint}; what only some points have gets a value for the others in sweep.defaults"
    return Problem(what=f"{{{err.name}}} has no value{stage}", where=where, fix=fix)


def _clashes(drafts: Sequence[_Draft]) -> list[Problem]:
    problems = []
    by_name: dict[str, _Draft] = {}
    for draft in drafts:
        other = by_name.setdefault(draft.name, draft)
        if other is not draft:
            texts = {key: value_text(value) for key, value in other.point.parameters.items()}
            differing = [key for key, value in draft.point.parameters.items() if texts.get(key) != value_text(value)]
            problems.append(
                Problem(
                    what=f"two entries would be called '{draft.name}'",
                    where=draft.point.variant.provenance.where("sweep.name_template"),
                    fix=f"put {', '.join(f'{{{key}}}' for key in differing) or '{id}'} into name_template",
                )
            )
    return problems[:1]


def _numbers(drafts: Sequence[_Draft], previous: Mapping[str, int]) -> dict[str, int]:
    """Return an index per entry id: those of an earlier plan stay, new ones follow the highest."""
    numbers = {draft.id: previous[draft.id] for draft in drafts if draft.id in previous}
    following = max(previous.values(), default=-1) + 1
    for draft in drafts:
        if draft.id not in numbers:
            numbers[draft.id] = following
            following += 1
    return numbers


def _entry(draft: _Draft, index: int, watch: int, session_dir: Path) -> PlannedEntry:
    project = draft.point.project
    resources = resources_of(project)
    siblings = {stage: sibling.name for stage, sibling in draft.siblings.items()}
    layout = SessionLayout(session_dir)
    filled, parameters = fill(draft.launch, draft.point, Own(draft.id, draft.name, siblings), layout)
    container = draft.container
    place = _place(draft, filled.cwd or str(Path.cwd()), layout)
    return PlannedEntry(
        index=index,
        id=draft.id,
        name=draft.name,
        parameters=parameters,
        argv=filled.argv,
        environment=filled.environment,
        cwd=filled.cwd or str(Path.cwd()),
        timeout_s=project.project.timeout_s,
        script="",
        resources=resources,
        requirements=project.requirements,
        ray=project.ray,
        launcher=(*draft.launcher, *container.prefix(place)),
        isolated=container.isolates or project.slurm.launcher_env_passthrough,
        passthrough=tuple(getattr(project.container, "environment_passthrough", ())),
        after_type=project.slurm.after_type,
        dependency=sbatch.value_of(project.slurm.sbatch, "dependency"),
        memory=_memory(project.slurm.sbatch),
        exclude=sbatch.value_of(project.slurm.sbatch, "exclude"),
        pinned=bool(sbatch.value_of(project.slurm.sbatch, "nodelist")),
        contract=draft.contract,
        delete_scratch=project.project.delete_scratch,
        watch=watch,
        capture=project.capture,
        progress=draft.launch.progress,
        resume=filled.resume,
        image=str(getattr(project.container, "image", "")),
        group=draft.group,
        expected_failure=project.project.expected_failure,
        sink_data=project.sink_data,
        merge_output=project.project.merge_output,
        links=project.project.links,
        artifacts_dir=_artifacts_dir(project, session_dir, draft.name),
        siblings=siblings,
        files=filled.files,
    )


def _artifacts_dir(project: Project, session_dir: Path, name: str) -> str:
    root = project.project.artifacts_dir
    return str(Path(root).absolute() / session_dir.name / name) if root else ""


def _memory(options: Mapping[str, Any]) -> str:
    """Return the option that says how much memory there is, with its value."""
    given = ((name, sbatch.value_of(options, name)) for name in ("mem", "mem-per-cpu", "mem-per-gpu"))
    return next((f"{name}={value}" for name, value in given if value and value != "0"), "")


def _place(draft: _Draft, cwd: str, layout: SessionLayout) -> Place:
    """Return what an entry has to see of the node: its session, what has a name, and its own folder to write to."""
    named = draft.point.project.named_paths().values()
    return Place(
        cwd=cwd,
        readable=(str(layout.root), *draft.launch.reads, *dict.fromkeys(p for p in named if p.startswith("/"))),
        writable=tuple(
            filter(
                None,
                (str(layout.entry(draft.name).root), _artifacts_dir(draft.point.project, layout.root, draft.name)),
            )
        ),
    )
