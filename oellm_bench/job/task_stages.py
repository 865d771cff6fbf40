"""Aggregate tasks.pkl by stage: `python -m oellm_bench.job.task_stages TASKS.PKL TASKS.JSON`.

A pickle is a program, and this one comes from a script nobody vouches for: it is read by an unpickler that
makes no object of any class and calls nothing, so that neither the script's libraries are needed nor can anything
run. It has memory and time limits of its own. The standard library only.

Source of the records' shape: `_stage_perf` of the tasks of NeMo Curator (stage_name, process_time, ...,
custom_metrics); plain mappings with `stage` or `stage_name` are read too.
"""

from __future__ import annotations

import json
import math
import pickle
import resource
import signal
import statistics
import struct
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from oellm_bench.core.result import STAGES_SCHEMA_VERSION
from oellm_bench.fileio import atomic_write_text

TIME_S = 40
# A few bytes of a pickle can ask for any amount: what it may take follows from its size.
MEMORY_BYTES, LEAST_BYTES, BYTES_PER_BYTE = 8 << 30, 512 << 20, 40
_LONGEST_NAME = 200


class Inert:
    """Stands in for an object of any class: keeps what it was made of, and does nothing."""

    kind = ""

    def __new__(cls, *args: Any, **kwargs: Any) -> Inert:
        """Take the place of a constructor, whatever it is given."""
        made = object.__new__(cls)
        made.args, made.fields = args, dict(kwargs)
        return made

    args: tuple[Any, ...]
    fields: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing with what was given."""

    def __call__(self, *args: Any, **kwargs: Any) -> Inert:
        """Take the place of a function that a pickle has looked up."""
        return Inert(*args, **kwargs)

    def __setstate__(self, state: Any) -> None:
        """Keep what the object would have had as attributes."""
        for part in state if isinstance(state, tuple) else (state,):
            if isinstance(part, dict):
                self.fields.update(part)

    def append(self, item: Any) -> None:
        """Take an item of what was a list."""
        self.args = (*self.args, item)

    def extend(self, items: Any) -> None:
        """Take items of what was a list."""
        self.args = (*self.args, *items)

    def __setitem__(self, key: Any, value: Any) -> None:
        """Take an item of what was a mapping."""
        self.fields[str(key)] = value

    def __hash__(self) -> int:
        """Let it be a key, as what it stands for may have been."""
        return id(self)


class _Unpickler(pickle.Unpickler):
    """Reads the structure of a pickle; every class and function becomes a stand-in."""

    def find_class(self, module: str, name: str) -> Any:
        """Return a stand-in of its own for each name."""
        return type(name.rpartition(".")[2][:_LONGEST_NAME], (Inert,), {"kind": f"{module}.{name}"})


def aggregate(tasks: Any) -> dict[str, dict[str, dict[str, float]]]:
    """Return sum, mean, std (population) and count by stage and metric."""
    values: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    seen: set[Any] = set()
    for stage, metrics, measured in _records(tasks):
        # Tasks that came out of one call each carry its record: the same measurement to the last bit is the same one.
        key = (stage, *sorted(metrics.items()))
        if measured and key in seen:
            continue
        seen.add(key)
        for name, value in metrics.items():
            values[stage][name].append(value)
    return {
        stage: {
            name: {
                "sum": math.fsum(numbers),
                "mean": statistics.fmean(numbers),
                "std": statistics.pstdev(numbers),
                "count": len(numbers),
            }
            for name, numbers in metrics.items()
        }
        for stage, metrics in values.items()
    }


def _records(node: Any, pipeline: str = "") -> Iterator[tuple[str, dict[str, float], bool]]:
    """Yield (stage, numbers, whether it is a measurement) of every record below a node."""
    if isinstance(node, list | tuple | set | frozenset):
        for item in node:
            yield from _records(item, pipeline)
        return
    fields = _fields(node)
    stage = fields.get("stage_name", fields.get("stage"))
    if isinstance(stage, str):
        name = ".".join(filter(None, (pipeline, stage)))[:_LONGEST_NAME]
        numbers = dict(_numbers(fields))
        yield name, numbers, isinstance(node, Inert) and numbers.get("process_time", 0.0) > 0
    elif "_stage_perf" in fields:
        yield from _records(fields["_stage_perf"], pipeline)
    elif isinstance(node, Inert):
        for part in ("pipeline_tasks", "tasks"):
            if part in fields:
                yield from _records(fields[part], pipeline)
        yield from _records([item for item in node.args if isinstance(item, list | tuple | dict | Inert)], pipeline)
    elif isinstance(node, dict):
        for name, part in node.items():
            yield from _records(part, str(name) if isinstance(part, list | tuple) else pipeline)


def _fields(node: Any) -> Mapping[str, Any]:
    if isinstance(node, Inert):
        return node.fields
    return {str(key): value for key, value in node.items()} if isinstance(node, dict) else {}


def _numbers(fields: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in fields.items():
        if name == "custom_metrics":
            yield from ((f"custom.{key}", number) for key, number in _numbers(_fields(value)))
            continue
        number = _number(value)
        if number is not None:
            yield name[:_LONGEST_NAME], number


def _number(value: Any) -> float | None:
    """Return a finite number, also one of NumPy's; None for anything else."""
    if isinstance(value, Inert) and value.kind.endswith("multiarray.scalar") and len(value.args) == 2:
        raw = value.args[1]
        code = {8: "<d", 4: "<f"}.get(len(raw)) if isinstance(raw, bytes) and _is_float(value.args[0]) else None
        value = struct.unpack(code, raw)[0] if code else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


def _is_float(dtype: Any) -> bool:
    return isinstance(dtype, Inert) and str(dtype.args[:1]).startswith("('f")


def main(arguments: list[str]) -> int:
    """Read, aggregate, write; 1 with the reason on stderr where that cannot be done."""
    source, target = map(Path, arguments)
    signal.alarm(TIME_S)
    try:
        memory_bytes = min(MEMORY_BYTES, LEAST_BYTES + BYTES_PER_BYTE * source.stat().st_size)
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        with source.open("rb") as stream:
            stages = aggregate(_Unpickler(stream).load())
        text = json.dumps({"schema_version": STAGES_SCHEMA_VERSION, "stages": stages}, allow_nan=False)
        atomic_write_text(target, text + "\n")
    except Exception as err:  # whatever a hostile pickle leads to
        sys.stderr.write(f"{type(err).__name__}: {err!s:.200}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
