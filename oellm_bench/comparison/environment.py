"""What a session ran on and with, as far as its jobs wrote that down, and how that differs between sessions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from oellm_bench.core.layout import EntryLayout
from oellm_bench.errors import StateError
from oellm_bench.fileio import open_file, read_json
from oellm_bench.session import Session

_MOST_ENTRIES = 200  # of a session; more of them tell nothing new
_GIB = 1 << 30
_LARGEST_LIST = 1 << 20  # bytes of a list of packages


@dataclass(frozen=True, kw_only=True)
class Environment:
    """`hardware`: one line for each kind of node, empty where nothing is known. `software`: versions by name.

    `places`: where it was, by name: nodes, scheduler, ...; no difference there makes sessions less comparable.
    `packages`: versions of the first entry that has a list of them.
    """

    hardware: tuple[str, ...] = ()
    software: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, str] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """What sessions on the same hardware have in common: 8 hexadecimal digits, empty where it is not known."""
        return hashlib.sha256("\n".join(self.hardware).encode()).hexdigest()[:8] if self.hardware else ""

    def to_document(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"hardware": list(self.hardware), "fingerprint": self.fingerprint, "software": dict(self.software)}


def environment_of(session: Session, entries: Iterable[str]) -> Environment:
    """Read the environment of a session from what its entries (by name) left; what is missing is left out."""
    hardware: dict[str, None] = {}
    software: dict[str, dict[str, None]] = {}
    places: dict[str, dict[str, None]] = {}
    packages: Mapping[str, str] = {}
    for name, _ in zip(entries, range(_MOST_ENTRIES), strict=False):
        layout = session.layout.entry(name)
        machine = _document(layout, "sys-env.json")
        if machine:
            hardware[_node(machine)] = None
        for key, value in (*_versions(machine), *_installed(layout)):
            software.setdefault(key, {})[value] = None
        for key, value in _places(machine):
            places.setdefault(key, {})[value] = None
        packages = packages or _packages(layout)
    told = {"oellm_bench": session.versions.get("oellm_bench", ""), "commit": _commit(session.git)}
    return Environment(
        hardware=tuple(sorted(hardware)),
        software=_given({**told, **_joined(software)}),
        places=_given({**_submission(session), **_joined(places)}),
        packages=packages,
    )


def difference(before: Environment, after: Environment) -> list[dict[str, str]]:
    """Return what differs: `what`, `before`, `after`, in a stable order. What one side does not know is empty."""
    rows = []
    if before.hardware != after.hardware:
        rows.append({"what": "hardware", "before": "; ".join(before.hardware), "after": "; ".join(after.hardware)})
    for name in sorted({*before.software, *after.software}):
        old, new = before.software.get(name, ""), after.software.get(name, "")
        if old != new:
            rows.append({"what": name, "before": old, "after": new})
    return rows


def _joined(found: Mapping[str, Iterable[str]]) -> dict[str, str]:
    return {key: ", ".join(sorted(values)) for key, values in found.items()}


def _given(values: Mapping[str, str]) -> dict[str, str]:
    return {key: value for key, value in values.items() if value}


def _submission(session: Session) -> dict[str, str]:
    return {
        "scheduler": str(session.scheduler.get("class_name", "")),
        "submitted from": session.environment.get("host", ""),
        "platform there": session.environment.get("platform", ""),
    }


def _places(machine: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    container = machine.get("container")
    image = container.get("image") if isinstance(container, Mapping) else None
    for key, value in (("nodes", machine.get("host")), ("system", machine.get("system")), ("image", image)):
        if isinstance(value, str):
            yield key, value


def _node(machine: Mapping[str, Any]) -> str:
    cpu = machine.get("cpu")
    cpu = cpu if isinstance(cpu, Mapping) else {}
    memory = machine.get("memory_bytes")
    parts = [f"{cpu.get('logical', '?')} x {cpu.get('model', 'CPU not known')}"]
    if isinstance(memory, int):
        parts.append(f"{round(memory / _GIB)} GiB")
    gpus = machine.get("gpus")
    names = [str(gpu.get("name", "GPU")) for gpu in gpus if isinstance(gpu, Mapping)] if isinstance(gpus, list) else []
    parts += [f"{names.count(name)} x {name}" for name in dict.fromkeys(names)]
    return ", ".join(parts)


def _versions(machine: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    container = machine.get("container")
    if isinstance(container, Mapping):
        yield "container", str(container.get("sha256") or container.get("sif_id") or container.get("image") or "")
    scripts = machine.get("scripts")
    for path, checksum in scripts.items() if isinstance(scripts, Mapping) else ():
        yield f"script {Path(path).name}", str(checksum)[:12]
    for key in ("gpu_driver", "cuda_driver", "kernel"):
        if machine.get(key):
            yield key, str(machine[key])


def _installed(layout: EntryLayout) -> Iterator[tuple[str, str]]:
    python = _document(layout, "python.json").get("python")
    if isinstance(python, Mapping) and python.get("version"):
        yield "python", str(python["version"])
    for name in ("pip-freeze.txt", "conda-explicit.txt"):
        try:
            with open_file(layout.artifacts / name) as stream:
                yield name.removesuffix(".txt"), hashlib.sha256(stream.read()).hexdigest()[:12]
        except OSError:
            continue


def _packages(layout: EntryLayout) -> dict[str, str]:
    try:
        with open_file(layout.artifacts / "pip-freeze.txt") as stream:
            lines = stream.read(_LARGEST_LIST).decode("utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    parts = (line.partition("==" if "==" in line else " @ ") for line in lines)
    named = {name.strip(): version.strip() for name, separator, version in parts if separator}
    return dict(sorted(named.items()))


def _document(layout: EntryLayout, name: str) -> Mapping[str, Any]:
    try:
        document = read_json(layout.artifacts / name)
    except StateError:
        return {}
    return document if isinstance(document, Mapping) else {}


def _commit(git: Mapping[str, str]) -> str:
    dirty = git.get("uncommitted_sha256", "")
    return f"{git.get('commit', '')[:12]}{f' + changes {dirty}' if dirty else ''}" if git.get("commit") else ""
