"""The plan of a session, as values and as `sweep.json`."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oellm_bench.core.capture import Capture
from oellm_bench.core.requirement import Requirement
from oellm_bench.core.resources import RayHead, Resources
from oellm_bench.core.resume import Resume
from oellm_bench.errors import StateError

SCHEMA_VERSION = 1
_CHECKSUM = ', "checksum": "'


@dataclass(frozen=True, kw_only=True)
class PlannedEntry:
    """One fully resolved point of a sweep.

    `id`: 8 characters of base 32, the hash of what the entry resolves to. `task`: its index in the array
    script `script`, None where it has a script of its own. `argv`, `environment`, `cwd`: ready to run.
    `launcher` is put in front of `argv` (a container's exec command, srun, nothing); `isolated`: variables do not
    arrive behind it by themselves, the entry's own, SLURM's and those named in `passthrough` are handed on.
    `after`: ids of the entries it waits for, by a SLURM dependency of kind `after_type`; `dependency`: what the user
    asked of sbatch beside that; `memory` (`mem=64G`) and `exclude` too, which a restart may change; `pinned`: to nodes
    named by the user. `contract`: whether benchmark_results/metrics.json must be there after exit 0. `watch`: index
    into Plan.watch. `progress`: the pattern of lines that tell how far the command is. `image`: the container's, empty
    where there is none. `resume`: how a later attempt goes on. `script` is relative to the session folder, and
    `script_checksum` that of its text. `group`: what its repetitions have in common, and results are
    compared by. `expected_failure`: why it is expected to fail, empty where it is not. `sink_data`: what single sinks
    are told about it, by the sink's name. `merge_output`: stderr goes where stdout goes. `links`: further names in its
    folder. `artifacts_dir`: where scratch/ and Ray's logs lie, empty where that is its own folder.
    `siblings`: names of the entries of other stages that it refers to, by stage. `files`: text by name
    that each attempt finds in its folder.
    """

    index: int
    id: str
    name: str
    parameters: Mapping[str, Any]
    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: str = ""
    timeout_s: float
    script: str
    task: int | None = None
    resources: Resources = field(default_factory=Resources)
    requirements: tuple[Requirement, ...] = ()
    ray: RayHead = field(default_factory=RayHead)
    launcher: tuple[str, ...] = ()
    isolated: bool = False
    passthrough: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    after_type: str = "afterok"
    dependency: str = ""
    memory: str = ""
    exclude: str = ""
    pinned: bool = False
    contract: bool = False
    delete_scratch: bool = True
    watch: int = 0
    capture: Capture = field(default_factory=Capture)
    progress: str = ""
    image: str = ""
    resume: Resume | None = None
    script_checksum: str = ""
    group: str = ""
    expected_failure: str = ""
    sink_data: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    merge_output: bool = False
    links: Mapping[str, str] = field(default_factory=dict)
    artifacts_dir: str = ""
    siblings: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


def node_hours(entries: Iterable[PlannedEntry]) -> float:
    """Return the most node-hours these entries can cost without restarts."""
    return sum(entry.resources.node_hours for entry in entries)


def gpu_hours(entries: Iterable[PlannedEntry]) -> float:
    """Return the most GPU-hours these entries can cost without restarts."""
    return sum(entry.resources.gpu_hours for entry in entries)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The frozen list of entries of one campaign.

    `fingerprint` is the same for two plans that would run the same things. `watch` holds each distinct
    choice of monitoring and restart settings once; entries refer to it by index.
    """

    project: str
    fingerprint: str
    entries: tuple[PlannedEntry, ...]
    watch: tuple[Mapping[str, Any], ...] = ()

    @property
    def node_hours(self) -> float:
        """Return the most node-hours the campaign can cost without restarts."""
        return node_hours(self.entries)

    @property
    def gpu_hours(self) -> float:
        """Return the most GPU-hours the campaign can cost without restarts."""
        return gpu_hours(self.entries)

    @functools.cached_property
    def by_id(self) -> dict[str, PlannedEntry]:
        """Return the entries by their id."""
        return {entry.id: entry for entry in self.entries}


def to_text(plan: Plan) -> str:
    """Return `sweep.json`: valid JSON with one entry per line, so that a job can read its own line only."""
    return "".join(to_lines(plan))


def to_lines(plan: Plan) -> Iterator[str]:
    """Yield the lines of `sweep.json`; of ten thousand entries nobody needs all at once."""
    head = json.dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "project": plan.project,
            "fingerprint": plan.fingerprint,
            "watch": plan.watch,
        }
    )
    yield f'{head[:-1]}, "entries": [\n'
    for number, entry in enumerate(plan.entries, 1):
        yield f"{_line(entry)}{',' if number < len(plan.entries) else ''}\n"
    yield "\n]}\n" if not plan.entries else "]}\n"


def checksum(data: bytes) -> str:
    """Return what data are known by: 16 hexadecimal digits of their SHA-256."""
    return hashlib.sha256(data).hexdigest()[:16]


def _line(entry: PlannedEntry) -> str:
    """Return an entry's line, which ends with the checksum of what stands before it."""
    text = json.dumps(entry_document(entry), allow_nan=False)
    return f'{text[:-1]}{_CHECKSUM}{checksum(text.encode())}"}}'


def entry_document(entry: PlannedEntry) -> dict[str, Any]:
    """Return the entry as plain JSON values."""
    return {
        **vars(entry),
        "resources": vars(entry.resources),
        "ray": vars(entry.ray),
        "capture": vars(entry.capture),
        "resume": None if entry.resume is None else vars(entry.resume),
        "requirements": [vars(requirement) for requirement in entry.requirements],
    }


def read_plan(path: Path) -> Plan:
    """Read `sweep.json`. Raises StateError that names the file where it is unreadable or of another version."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        _check_version(document, path)
        return Plan(
            project=document["project"],
            fingerprint=document["fingerprint"],
            entries=tuple(_entry(item) for item in document["entries"]),
            watch=tuple(document["watch"]),
        )
    except OSError as err:
        raise StateError(f"{path} cannot be read ({err.strerror}); plan the campaign first") from err
    except (ValueError, TypeError, KeyError) as err:
        raise StateError(f"{path} is not a plan ({err!r})") from err


def read_entry(path: Path, *, index: int | None = None, entry_id: str | None = None) -> PlannedEntry:
    """Read one entry of `sweep.json`, by index or by id, without parsing the others.

    Raises StateError where the file is unreadable, has no such entry, or another one than was planned.
    """
    key, wanted = ("index", index) if entry_id is None else ("id", entry_id)
    marker = f'"{key}": {json.dumps(wanted)},'
    try:
        for line in _entry_lines(path):
            if marker in line:
                text = line.rstrip().removesuffix(",")
                document = json.loads(text)
                if document[key] == wanted:
                    _refuse_changed(text, path)
                    return _entry(document)
    except OSError as err:
        raise StateError(f"{path} cannot be read ({err.strerror})") from err
    except (ValueError, TypeError, KeyError) as err:
        raise StateError(f"{path} is not a plan ({err!r})") from err
    raise StateError(f"{path} has no entry with {key} {wanted}")


def _refuse_changed(line: str, path: Path) -> None:
    """Raise StateError for a line that is not as it was planned; earlier releases wrote no checksum."""
    planned, found, told = line.rpartition(_CHECKSUM)
    expected = checksum(f"{planned}}}".encode())
    if found and told != f'{expected}"}}':
        raise StateError(f"{path} was changed after it was planned, and is not run; put it back, or plan anew")


def _entry_lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as stream:
        head = next(stream, "")
        if f'"schema_version": {SCHEMA_VERSION},' not in head:
            raise ValueError(f"schema_version {SCHEMA_VERSION} expected")
        yield from stream


def _check_version(document: Any, path: Path) -> None:
    version = document.get("schema_version") if isinstance(document, Mapping) else None
    if version != SCHEMA_VERSION:
        raise StateError(f"{path} has schema_version {version}; this version reads {SCHEMA_VERSION}")


def _entry(document: Mapping[str, Any]) -> PlannedEntry:
    values = {name: value for name, value in document.items() if name != "checksum"}
    values["argv"] = tuple(values["argv"])
    values["launcher"] = tuple(values["launcher"])
    # Not there in plans that were written before entries could wait for each other, and run in containers.
    values["after"] = tuple(values.get("after", ()))
    values["passthrough"] = tuple(values.get("passthrough", ()))
    values["capture"] = Capture(**values.get("capture", {}))
    resume = values.get("resume")
    lists = {name: tuple(resume.get(name, ())) for name in ("arguments", "without")} if resume else {}
    values["resume"] = Resume(**{**resume, **lists}) if resume else None
    values["resources"] = Resources(**values["resources"])
    values["ray"] = RayHead(**values["ray"])
    values["requirements"] = tuple(Requirement(**item) for item in values["requirements"])
    for name in (*values.get("files", ()), *values.get("links", ())):  # the job writes them
        if name in ("", ".", "..") or "/" in name or "\0" in name:
            raise ValueError(f"'{name}' is no name in the entry's folder")
    return PlannedEntry(**values)
