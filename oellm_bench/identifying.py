"""What makes an entry, and a plan, the same as another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from oellm_bench.config.project import ConfiguredPoint
from oellm_bench.config.schema import Project
from oellm_bench.core.launch import LaunchCommand
from oellm_bench.core.plan import PlannedEntry
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.core.resources import RayHead
from oellm_bench.filling import path_key, placeholder_paths
from oellm_bench.launchers.host import HostLauncher
from oellm_bench.naming import identity
from oellm_bench.placeholders import names_in


def identity_of(
    point: ConfiguredPoint, launch: LaunchCommand, launcher: Sequence[str], siblings: Mapping[str, str]
) -> str:
    """Return an entry's id: the same for all that would run the same, whatever folder it runs in.

    `siblings`: the ids of the entries it refers to, by stage.
    """
    project = point.project
    return identity(
        {
            "project": project.project.name,
            **({"name": point.name} if point.name else {}),
            **({"siblings": siblings} if siblings else {}),
            "parameters": point.parameters,
            "launch": {**_launch_identity(launch), "environment": dict(launch.environment)},
            "launcher": (*launcher, *_container_identity(project.container)),
            "ray": _ray_identity(project.ray),
        }
    )


def paths_of(launch: LaunchCommand, project: Project) -> dict[str, str]:
    """Return the named paths that a command uses: moved they make no other experiment, but another plan."""
    named = placeholder_paths(project)
    texts = (*launch.argv, *launch.environment.values(), launch.cwd, *launch.files.values())
    wanted = (path_key(name) for text in texts for name in names_in(text))
    return {key: named[key] for key in wanted if key in named}


def fingerprint_of(project: str, entries: Sequence[PlannedEntry], used: Mapping[str, Mapping[str, str]]) -> str:
    """Return what says which things a plan runs; `used`: the named paths by entry id."""
    rows = sorted(
        (e.id, e.name, e.timeout_s, repr(e.resources), *_order(e), *map(repr, sorted(used[e.id].items())))
        for e in entries
    )
    return identity({"project": project, "entries": rows}) + identity({"entries": rows})


def _launch_identity(launch: LaunchCommand) -> dict[str, Any]:
    of_no_account = ("reads", "progress", "resume", *(() if launch.files else ("files",)))
    return {name: value for name, value in vars(launch).items() if name not in of_no_account}


def _ray_identity(ray: RayHead) -> dict[str, Any]:
    """Return what of the head makes it another experiment; options that came later count once they are used."""
    later = {"object_spilling", "object_store_share", "spill_dir", "reuse"}
    return {name: value for name, value in vars(ray).items() if name not in later or value != getattr(RayHead(), name)}


def _container_identity(container: PluginConfig) -> tuple[str, ...]:
    """Return what of a container makes it another experiment: all that is said of it, nothing where there is none."""
    return () if container.class_name == HostLauncher.__name__ else (repr(sorted(asdict(container).items())),)


def _order(entry: PlannedEntry) -> tuple[str, ...]:
    return (entry.after_type, *entry.after) if entry.after else ()
