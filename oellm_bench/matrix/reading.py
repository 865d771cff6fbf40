"""From the files of a matrix to a `Source`: read, merged, resolved, typed."""

from __future__ import annotations

import re
from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path

from oellm_bench.builtins import load_all
from oellm_bench.config.typing import FaultyConfig, parse
from oellm_bench.errors import ConfigError, Problem, UsageError, nearest
from oellm_bench.matrix import document, environment, older
from oellm_bench.matrix.document import Node
from oellm_bench.matrix.schema import Matrix
from oellm_bench.matrix.sinks import export_secrets
from oellm_bench.matrix.source import Source

NO_SINK = "none"
_REPOSITORY = "CURATOR_REPO_DIR"


def read_configs(
    paths: Sequence[Path],
    sink: str | None,
    variables: MutableMapping[str, str],
    warn: Callable[[str], None],
    *,
    contained: bool,
) -> Source:
    """Return a matrix of the newer format. `sink`: the only one to be used, or none. Raises ConfigError."""
    merged = document.without_disabled(document.read_files(paths))
    listed = merged.get("sinks")
    if listed is not None and not isinstance(listed.value, list | None):
        fix = "write a list, `- name: mlflow` and so on; in the older format (--matrix) they stand at the top"
        raise ConfigError(Problem(what="the sinks are no list", where=f"{listed.where}: sinks", fix=fix))
    if sink is not None and listed is not None:
        merged = Node({**merged.value, "sinks": _chosen(listed, sink.split(","))}, merged.where)
    return _source(merged, paths[0], variables, warn, older=False, contained=contained)


def _chosen(listed: Node, wanted: Sequence[str]) -> Node:
    """Return the sinks of these names; `none` is no sink. Raises UsageError."""
    by_name = {str(named.value): item for item in listed.items() if (named := item.get("name")) is not None}
    for name in wanted:
        if name not in by_name and name != NO_SINK:
            raise UsageError(f"--sink {name}: the matrix has no such sink; {nearest(name, [*by_name, NO_SINK])}")
    return Node([item for name, item in by_name.items() if name in wanted], listed.where)


def read_older(
    path: Path,
    datasets: Path | None,
    sink: str | None,
    variables: MutableMapping[str, str],
    warn: Callable[[str], None],
    *,
    contained: bool,
) -> Source:
    """Return a matrix of the older format: every variable in it has to be set, of unused sinks too. Raises ConfigError.

    Without `sink` nothing but files is written.
    """
    if sink is not None and sink not in (*older.SINKS, NO_SINK):
        raise UsageError(f"--sink {sink}: there is no such sink; {nearest(sink, [*older.SINKS, NO_SINK])}")
    read = document.read_files([path])
    environment.resolved(read, variables)
    listed = older.read_datasets(datasets) if datasets is not None else None
    merged = document.without_disabled(older.modernised(read, listed, sink or NO_SINK))
    return _source(merged, path, variables, warn, older=True, contained=contained)


def _source(
    merged: Node,
    first: Path,
    variables: MutableMapping[str, str],
    warn: Callable[[str], None],
    *,
    older: bool,
    contained: bool,
) -> Source:
    load_all()
    sinks = merged.get("sinks")
    if sinks is not None:
        merged = Node({**merged.value, "sinks": export_secrets(sinks, variables, warn)}, merged.where)
    inherited = _inherited(environment.resolved(merged, variables))
    try:
        matrix = parse(Matrix, inherited.plain())
    except FaultyConfig as err:
        faults = [(inherited.find(fault.key).where, fault) for fault in err.faults]
        raise ConfigError(
            Problem(what=fault.what, where=f"{where}: {fault.key}", fix=fault.fix) for where, fault in faults
        ) from err
    folder = first.absolute().parent
    return Source(
        matrix=matrix,
        document=inherited,
        project=_project_name(first),
        folder=folder,
        older=older,
        repository=variables.get(_REPOSITORY) or _work_tree(folder),
        contained=contained,
    )


def _inherited(merged: Node) -> Node:
    """Return the matrix with what all entries have in common in each of them, under what it says itself."""
    entries = merged.get("entries")
    if entries is None:
        return merged
    ray = _spelled_out(merged.get("ray"))
    size = merged.get("object_store_size")
    items = []
    for entry in entries.items():
        own = dict(entry.value) if isinstance(entry.value, dict) else {}
        common, mine = ray, _spelled_out(entry.get("ray"))
        if mine is not None and mine.value and mine.get("enabled") is None:
            # Whoever says something of an entry's head wants one, also where the others have none.
            mine = document.merge(mine, Node({"enabled": Node(True, mine.where)}, mine.where))
        if common is not None:
            own["ray"] = common if mine is None else document.merge(common, mine)
        elif mine is not None:
            own["ray"] = mine
        if size is not None:
            own.setdefault("object_store_size", size)
        items.append(Node(own, entry.where) if isinstance(entry.value, dict) else entry)
    values = {**merged.value, "entries": Node(items, entries.where) if entries.items() else entries}
    return Node({**values, **({} if ray is None else {"ray": ray})}, merged.where)


def _spelled_out(ray: Node | None) -> Node | None:
    """Return `ray: false` as the mapping that it is short for, and null as nothing."""
    if ray is None or ray.value is None:
        return None
    return Node({"enabled": ray}, ray.where) if isinstance(ray.value, bool) else ray


def _project_name(first: Path) -> str:
    name = re.sub(r"[^A-Za-z0-9._=+@,-]+", "-", first.stem).strip("-._=+@,")
    return name or "matrix"


def _work_tree(folder: Path) -> str:
    """Return the work tree of git that a folder is in, the folder itself where it is in none."""
    return str(next((parent for parent in (folder, *folder.parents) if (parent / ".git").exists()), folder))
