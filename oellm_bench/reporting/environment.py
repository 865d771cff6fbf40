"""Where a session ran, and what of that differs from another session. Values of variables are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any

from oellm_bench.core.plan import Plan, read_plan
from oellm_bench.errors import BenchError
from oellm_bench.fileio import open_file
from oellm_bench.reporting.report import EnvironmentReport, Fact
from oellm_bench.results.reading import read_object
from oellm_bench.session import Session

_MOST_MACHINES = 50  # entries whose machine is read
_MOST_VALUES = 5  # different ones of one fact
_LARGEST_LIST = 1 << 20  # bytes of pip-freeze.txt
_MOST_PACKAGES = 5000
_ABSENT = "not there"


def environment_report(session: Session, plan: Plan, other: Session | None) -> EnvironmentReport:
    """Return the facts about a session's environment, beside those of another session where there is one."""
    facts, packages = _facts(session, plan), _packages(session, plan)
    if other is None:
        return EnvironmentReport(facts=_side_by_side(facts, None), packages=_side_by_side(packages, None))
    try:
        other_plan = read_plan(other.layout.sweep)
    except BenchError:
        return environment_report(session, plan, None)
    before, packages_before = _facts(other, other_plan), _packages(other, other_plan)
    # Where one of the two lists was not taken, nothing can be said about what came and went.
    comparable = packages_before if packages and packages_before else None
    return EnvironmentReport(
        facts=_side_by_side(facts, before),
        packages=_side_by_side(packages, comparable),
        compared_with=other.id,
    )


def _side_by_side(now: Mapping[str, str], before: Mapping[str, str] | None) -> tuple[Fact, ...]:
    if before is None:
        return tuple(Fact(name=name, value=value) for name, value in now.items())
    names = dict.fromkeys([*now, *before])
    return tuple(Fact(name=n, value=now.get(n, _ABSENT), before=before.get(n, _ABSENT)) for n in names)


def _facts(session: Session, plan: Plan) -> dict[str, str]:
    """Return what is known of a session's environment, by name: where it was submitted, then where its jobs ran."""
    git = session.git
    facts = {
        **{f"{name} version": version for name, version in session.versions.items()},
        "git commit": git.get("commit", ""),
        "uncommitted changes": git.get("uncommitted_sha256", ""),
        "scheduler": str(session.scheduler.get("class_name", "")),
        "submitted from": session.environment.get("host", ""),
        "platform there": session.environment.get("platform", ""),
        **_machines(session, plan),
    }
    return {name: str(value) for name, value in facts.items() if value}


def _machines(session: Session, plan: Plan) -> dict[str, str]:
    """Return what the jobs' machines are, each fact once with how many entries it holds for."""
    found: dict[str, Counter[str]] = {}
    documents = (
        read_object(session.layout.entry(entry.name).artifacts / "sys-env.json").values for entry in plan.entries
    )
    for document in islice(filter(None, documents), _MOST_MACHINES):
        for name, value in _machine(document).items():
            if value:
                found.setdefault(name, Counter())[value] += 1
    return {name: _listed(values) for name, values in found.items()}


def _machine(document: Mapping[str, Any]) -> dict[str, str]:
    cpu, gpus, image = (document.get(name) for name in ("cpu", "gpus", "container"))
    cpu, image = (part if isinstance(part, Mapping) else {} for part in (cpu, image))
    memory = document.get("memory_bytes")
    return {
        "node": _text(document.get("host")),
        "system": _text(document.get("system")),
        "kernel": _text(document.get("kernel")),
        "CPU": _text(cpu.get("model")),
        "CPUs": _text(cpu.get("logical")),
        "memory": f"{memory / 1024**3:.0f} GiB" if isinstance(memory, int) else "",
        "GPUs": _gpus(gpus),
        "GPU driver": _text(document.get("gpu_driver")),
        "CUDA driver": _text(document.get("cuda_driver")),
        "image": _text(image.get("image")),
        "image digest": _text(image.get("sha256")),
        "Python of the jobs": _text(document.get("python")),
    }


def _text(value: Any) -> str:
    return str(value) if isinstance(value, str | int | float) else ""


def _gpus(gpus: Any) -> str:
    rows = gpus if isinstance(gpus, list) else []
    names = Counter(_text(row.get("name")) for row in rows if isinstance(row, Mapping))
    return ", ".join(f"{count} x {name}" for name, count in sorted(names.items()) if name)


def _listed(values: Counter[str]) -> str:
    """Return the values, each with how often it was found where there are several."""
    if len(values) == 1:
        return next(iter(values))
    shown = ", ".join(f"{value} ({count} entries)" for value, count in values.most_common(_MOST_VALUES))
    more = len(values) - _MOST_VALUES
    return f"{shown} and {more} more" if more > 0 else shown


def _packages(session: Session, plan: Plan) -> dict[str, str]:
    """Return the packages of the first entry that has a list of them, by name."""
    for entry in plan.entries[:_MOST_MACHINES]:
        try:
            with open_file(session.layout.entry(entry.name).artifacts / "pip-freeze.txt") as stream:
                text = stream.read(_LARGEST_LIST).decode("utf-8", errors="replace")
        except OSError:
            continue
        return dict(sorted(islice(_named(text.splitlines()), _MOST_PACKAGES)))
    return {}


def _named(lines: Iterable[str]) -> Iterable[tuple[str, str]]:
    for line in lines:
        name, separator, version = line.partition("==" if "==" in line else " @ ")
        if separator:
            yield name.strip(), version.strip()
