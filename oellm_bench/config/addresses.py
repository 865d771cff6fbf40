"""Which keys of the configuration a sweep can set, and where it set them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oellm_bench.config.grouping import Point
from oellm_bench.config.placing import within
from oellm_bench.config.provenance import Provenance
from oellm_bench.config.schema import Project
from oellm_bench.config.typing import field_types
from oellm_bench.errors import Problem, nearest

SECTIONS = tuple(name for name in field_types(Project) if name != "sweep")
# What a session has once, whatever its entries say.
_OF_THE_SESSION = (
    *(
        f"project.{name}"
        for name in (
            "name base_output_dir state_dir report viewer_url run_reason confirm_gpu_hours flat check_inputs".split()
        )
    ),
    *(f"slurm.{name}" for name in ("client", "max_parallel", "max_submit", "monitor_job")),
    *(f"monitoring.{name}" for name in ("interval_s", "action_timeout_s", "action_attempts")),
    *("sinks", "metrics", "simulation"),
)


def is_address(key: str, value: object) -> bool:
    """Tell whether a key of a point is one of the configuration: dotted, or a section that is given whole."""
    return "." in key or (key in SECTIONS and isinstance(value, Mapping))


def address_problems(points: Sequence[Point], keys: Sequence[str], provenance: Provenance) -> Iterator[Problem]:
    """Yield why dotted keys would change nothing: they name no section, or what a session has but once."""
    for key in keys:
        section = key.split(".")[0]
        if "." in key and section not in SECTIONS:
            what = f"sweep key '{key}' addresses no section"
            yield Problem(what=what, where=provenance.where(key), fix=nearest(section, SECTIONS))
        elif "." in key and within(key, _OF_THE_SESSION) and len({repr(p.values.get(key)) for p in points}) > 1:
            what = f"'{key}' holds for a whole session and cannot differ between its entries"
            yield Problem(what=what, where=provenance.where(key), fix="submit a campaign for each value: -o KEY=VALUE")


@dataclass(frozen=True)
class PointProvenance(Provenance):
    """The provenance of one point: a key that its sweep sets several times is told where this point has it from.

    `values` are the point's own, `sweep` the declaration, as plain data.
    """

    values: Mapping[str, Any]
    sweep: Mapping[str, Any]

    def where(self, key: str) -> str:
        """Return where the point has the value of a dotted key from, else what is known without it."""
        name = next((n for n in self.values if key == n or key.startswith(f"{n}.")), None)
        name = name or next((n for n in self.values if n.startswith(f"{key}.")), None)
        if name is None or key in self.overrides:
            return super().where(key)
        places = (path for n, value, path in _values_in(self.sweep, "sweep") if n == name and self._is(name, value))
        place = next(places, None)
        if place is None:
            return super().where(key)
        inner = f"{place}.{key.removeprefix(name).lstrip('.')}".rstrip(".") if key.startswith(name) else place
        return f"{super().where(inner).removesuffix(inner)}{key}"

    def _is(self, name: str, value: object) -> bool:
        return type(value) is type(self.values[name]) and value == self.values[name]


def _values_in(group: Mapping[str, Any], where: str) -> Iterator[tuple[str, Any, str]]:
    """Yield key, value and place of everything that a group of a sweep sets; each value of an axis by itself."""
    for part in ("configs", "groups"):
        for number, item in enumerate(group.get(part) or ()):
            if not isinstance(item, Mapping):
                continue
            place = f"{where}.{part}.{number}"
            yield from _values_in(item, place)
            if part == "configs":
                yield from _set_in(item, place)
    axes = group.get("axes") or {}
    for number, item in enumerate(axes if isinstance(axes, list) else ()):
        yield from _axes_in(item, f"{where}.axes.{number}")
    for part, found in (("axes", axes), ("params", group.get("params"))):
        yield from _axes_in(found, f"{where}.{part}")
    for part in ("defaults", "base_values"):
        yield from _set_in(group.get(part), f"{where}.{part}")


def _axes_in(axes: object, where: str) -> Iterator[tuple[str, Any, str]]:
    for key, values, place in _set_in(axes, where):
        if isinstance(values, list):
            yield from ((key, value, f"{place}.{number}") for number, value in enumerate(values))
        yield key, values, place


def _set_in(values: object, where: str, above: str = "") -> Iterator[tuple[str, Any, str]]:
    for key, value in values.items() if isinstance(values, Mapping) else ():
        name, place = f"{above}{key}", f"{where}.{key}"
        yield name, value, place
        if isinstance(value, Mapping) and (above or key in SECTIONS):
            yield from _set_in(value, place, f"{name}.")
