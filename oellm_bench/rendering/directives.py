"""Options of sbatch: checked by name, quoted as sbatch reads them, counted as resources."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from oellm_bench.core import slurm_options
from oellm_bench.core.resources import Resources
from oellm_bench.errors import Problem, nearest
from oellm_bench.rendering.sbatch_values import COMMON, value_problem
from oellm_bench.units import format_slurm_time, parse_slurm_time

# Set by this tool for every submission: a value of the user's would break the book-keeping.
OURS = ("array", "job-name", "output", "error", "parsable", "test-only", "wait", "wrap", "clusters")

_PLAIN = re.compile(r"[\w.,:;/@%+=*\[\]&|-]+", re.ASCII)
_COUNT = re.compile(r"(?:[\d,:]+-)?(?P<last>\d+)")

Directives = dict[str, str]


def check(options: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong with `slurm.sbatch`; `where` of a problem is the option as written."""
    problems = []
    written: dict[str, str] = {}
    for key, value in options.items():
        name = long_name(key)
        other = written.setdefault(name, key)
        if other != key:
            problems.append(Problem(what=f"'{key}' and '{other}' are one option", where=key, fix="take one out"))
        elif name in OURS:
            problems.append(Problem(what=f"'{key}' is set by oellm-bench itself", where=key, fix="take it out"))
        elif name not in slurm_options.ALL:
            problems.append(
                Problem(what=f"sbatch has no option '{key}'", where=key, fix=nearest(name, sorted(slurm_options.ALL)))
            )
        elif not str(value).isprintable():
            what = f"{value!r} has a line break or another control character in it"
            problems.append(Problem(what=what, where=key, fix="give one line"))
        elif is_given(value) and (wrong := value_problem(name, value)):
            problems.append(Problem(what=wrong[0], where=key, fix=wrong[1]))
    return problems


def check_srun(options: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong with `slurm.srun`; `where` of a problem is the option as written."""
    problems = []
    for key, value in options.items():
        name = long_name(key)
        if name not in slurm_options.SRUN:
            fix = nearest(name, sorted(slurm_options.SRUN))
            problems.append(Problem(what=f"srun has no option '{key}'", where=key, fix=fix))
        elif name in COMMON and is_given(value) and (wrong := value_problem(name, value)):
            problems.append(Problem(what=wrong[0], where=key, fix=wrong[1]))
    return problems


def check_components(components: Sequence[Mapping[str, Any]], *, array: bool) -> list[Problem]:
    """Return what is wrong with `slurm.hetjob`; `where` of a problem is the component's number and the option."""
    found = [
        replace(problem, where=f"{number}.{problem.where}")
        for number, options in enumerate(components)
        for problem in check(options)
    ]
    if components and array:
        fix = "take slurm.array or slurm.hetjob out"
        found.append(Problem(what="SLURM has no arrays of heterogeneous jobs", fix=fix))
    return found


def directives(options: Mapping[str, Any], *, walltime_s: int) -> Directives:
    """Return sbatch options by long name, a flag with an empty value; false, null and '' are left out.

    The walltime is `time` where given. A job is not requeued by SLURM unless asked: the monitor restarts it.
    """
    found = {long_name(k): "" if v is True else str(v) for k, v in options.items() if is_given(v)}
    found.setdefault("time", format_slurm_time(walltime_s))
    if "requeue" not in found:
        found["no-requeue"] = ""
    found.setdefault("open-mode", "append")  # a requeue must not wipe the log of the run before
    return found


def components(options: Sequence[Mapping[str, Any]], *, walltime_s: int) -> tuple[Directives, ...]:
    """Return the further components of a heterogeneous job; each has the time of the job unless it says otherwise."""
    found = []
    for given in options:
        named = directives(given, walltime_s=walltime_s)
        del named["open-mode"]  # the first component alone has a log
        found.append(named)
    return tuple(found)


def lines(found: Directives) -> list[str]:
    """Return `#SBATCH` lines, values quoted."""
    return [f"#SBATCH --{name}={_quoted(value)}" if value else f"#SBATCH --{name}" for name, value in found.items()]


def value_of(options: Mapping[str, Any], name: str) -> str:
    """Return the value of an option by its long name, empty where it is not given."""
    return next((str(value) for key, value in options.items() if long_name(key) == name and is_given(value)), "")


def directives_in(script: str) -> tuple[tuple[tuple[str, str], ...], ...]:
    """Return the options at the head of a rendered script as (name, value as written), by component."""
    components: list[list[tuple[str, str]]] = [[]]
    for line in script.splitlines()[1:]:
        text = line.removeprefix("#SBATCH ")
        if text == line:
            break  # what stands further down sbatch may read or not: it is not ours
        if text == "hetjob":
            components.append([])
        else:
            name, _, value = text.removeprefix("--").partition("=")
            components[-1].append((name, value))
    return tuple(tuple(component) for component in components)


def _quoted(value: str) -> str:
    """Return `value` as one word of an #SBATCH line.

    These lines are split by sbatch, not by a shell: a backslash escapes inside of any quotes, and `#` begins a
    comment outside of them (_get_argument in src/sbatch/opt.c, Slurm 17.11 to 25.05).
    """
    if _PLAIN.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def resources(
    options: Mapping[str, Any], components: Sequence[Mapping[str, Any]] = (), *, walltime_s: int
) -> Resources:
    """Return what the options ask for; nodes and GPUs are counted over all components, GPUs over all nodes."""
    nodes = gpus = 0
    for given in (options, *components):
        named = {long_name(key): value for key, value in given.items() if is_given(value)}
        own_nodes = _last_number(named.get("nodes", 1))
        nodes, gpus = nodes + own_nodes, gpus + _gpus(named, own_nodes)
    limit = parse_slurm_time(value_of(options, "time")) or walltime_s
    return Resources(nodes=nodes, gpus=gpus, walltime_s=limit)


def _gpus(named: Mapping[str, Any], nodes: int) -> int:
    if "gpus" in named:
        return _total(named["gpus"])
    if "gpus-per-node" in named:
        return _total(named["gpus-per-node"]) * nodes
    gres = [part for part in str(named.get("gres", "")).split(",") if part.removeprefix("gres/").startswith("gpu")]
    if gres:
        return sum(_last_number(part, default=1) for part in gres) * nodes
    if "gpus-per-task" in named:
        return _total(named["gpus-per-task"]) * _last_number(named.get("ntasks", nodes))
    return 0


def _total(value: object) -> int:
    """Return the sum of counts by type: 3 for `a100:1,h100:2`."""
    return sum(_last_number(part) for part in str(value).split(","))


def _last_number(value: object, default: int = 0) -> int:
    """Return the last number in `4`, `2-4` (the most that may be given) or `a100:4`, not that in `gpu:a100`."""
    match = _COUNT.fullmatch(str(value).split("(")[0].rsplit(":", 1)[-1])
    return int(match["last"]) if match else default


def is_given(value: object) -> bool:
    """Tell whether an option is to be written: 0 is a value, `--mem=0` means all of the node's memory."""
    return value is not None and value is not False and value != ""


def long_name(key: str) -> str:
    """Return an option's name as SLURM writes it: `cpus-per-task` for `cpus_per_task` and `--cpus-per-task`."""
    return key.strip("-").replace("_", "-")
