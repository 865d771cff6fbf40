"""Options of sbatch: checked by name, quoted as sbatch reads them, counted as resources."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from oellm_bench.core.resources import Resources
from oellm_bench.errors import Problem, nearest
from oellm_bench.units import format_slurm_time, parse_slurm_time

# Long options of sbatch(1), Slurm 22.05 to 25.05.
_OPTIONS = tuple(
    """account acctg-freq array batch bb bbf begin chdir cluster-constraint clusters comment constraint container
    container-id contiguous core-spec cores-per-socket cpu-freq cpus-per-gpu cpus-per-task deadline delay-boot
    dependency distribution error exclude exclusive export export-file extra extra-node-info get-user-env gid
    gpu-bind gpu-freq gpus gpus-per-node gpus-per-socket gpus-per-task gres gres-flags hint hold
    ignore-pbs input job-name kill-on-invalid-dep licenses mail-type mail-user mcs-label mem mem-bind mem-per-cpu
    mem-per-gpu mincpus network nice no-kill no-requeue nodefile nodelist nodes ntasks ntasks-per-core
    ntasks-per-gpu ntasks-per-node ntasks-per-socket open-mode oom-kill-step output overcommit oversubscribe
    parsable partition power prefer priority profile propagate qos quiet reboot requeue reservation resv-ports
    segment signal sockets-per-node spread-job stepmgr switches test-only thread-spec threads-per-core time
    time-min tmp tres-bind tres-per-task uid usage use-min-nodes verbose version wait wait-all-nodes wckey
    wrap""".split()
)
# Set by this tool for every submission: a value of the user's would break the book-keeping.
_OURS = ("array", "job-name", "output", "error", "parsable", "test-only", "wait", "wrap")

_PLAIN = re.compile(r"[\w.,:;/@%+=*\[\]&|-]+", re.ASCII)
_COUNT = re.compile(r"(?:[\d,:]+-)?(?P<last>\d+)")

Directives = dict[str, str]

_COUNTS = ("nodes", "ntasks", "ntasks-per-node", "cpus-per-task", "cpus-per-gpu")
_HOW_MANY = re.compile(r"\d+[kKmM]?(?:-\d+[kKmM]?(?::\d+)?)?")


def check(options: Mapping[str, Any]) -> list[Problem]:
    """Return what is wrong with `slurm.sbatch`; `where` of a problem is the option as written."""
    problems = []
    written: dict[str, str] = {}
    for key, value in options.items():
        name = _long_name(key)
        other = written.setdefault(name, key)
        if other != key:
            problems.append(Problem(what=f"'{key}' and '{other}' are one option", where=key, fix="take one out"))
        elif name in _OURS:
            problems.append(Problem(what=f"'{key}' is set by oellm-bench itself", where=key, fix="take it out"))
        elif name not in _OPTIONS:
            problems.append(Problem(what=f"sbatch has no option '{key}'", where=key, fix=nearest(name, _OPTIONS)))
        elif not str(value).isprintable():
            what = f"{value!r} has a line break or another control character in it"
            problems.append(Problem(what=what, where=key, fix="give one line"))
        elif name in _COUNTS and _is_given(value) and not _HOW_MANY.fullmatch(str(value)):
            fix = "give a number, 4, or a range, 2-4" if name == "nodes" else "give a number"
            problems.append(Problem(what=f"'{value}' is no number of {name}", where=key, fix=fix))
        elif name == "time" and _is_given(value):
            try:
                parse_slurm_time(value)
            except ValueError as err:
                problems.append(Problem(what=str(err), where=key))
    return problems


def directives(options: Mapping[str, Any], *, walltime_s: int) -> Directives:
    """Return sbatch options by long name, a flag with an empty value; false, null and '' are left out.

    The walltime is `time` where given. A job is not requeued by SLURM unless asked: the monitor restarts it.
    """
    found = {_long_name(k): "" if v is True else str(v) for k, v in options.items() if _is_given(v)}
    found.setdefault("time", format_slurm_time(walltime_s))
    if "requeue" not in found:
        found["no-requeue"] = ""
    found.setdefault("open-mode", "append")  # a requeue must not wipe the log of the run before
    return found


def lines(found: Directives) -> list[str]:
    """Return `#SBATCH` lines, values quoted."""
    return [f"#SBATCH --{name}={_quoted(value)}" if value else f"#SBATCH --{name}" for name, value in found.items()]


def _quoted(value: str) -> str:
    """Return `value` as one word of an #SBATCH line.

    These lines are split by sbatch, not by a shell: a backslash escapes inside of any quotes, and `#` begins a
    comment outside of them (_get_argument in src/sbatch/opt.c, Slurm 17.11 to 25.05).
    """
    if _PLAIN.fullmatch(value):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def resources(options: Mapping[str, Any], *, walltime_s: int) -> Resources:
    """Return what the options ask for; GPUs are counted over all nodes."""
    named = {_long_name(key): value for key, value in options.items() if _is_given(value)}
    nodes = _last_number(named.get("nodes", 1))
    time = named.get("time")
    limit = walltime_s if time is None else parse_slurm_time(time) or walltime_s
    return Resources(nodes=nodes, gpus=_gpus(named, nodes), walltime_s=limit)


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


def _is_given(value: object) -> bool:
    """Tell whether an option is to be written: 0 is a value, `--mem=0` means all of the node's memory."""
    return value is not None and value is not False and value != ""


def _long_name(key: str) -> str:
    return key.strip("-").replace("_", "-")
