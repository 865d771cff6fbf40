"""What one submission asks for: sbatch's options, read, checked and with every default filled in."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from oellm_bench.core.hostlist import node_names
from oellm_bench.schedulers.embedded.dependencies import parse_dependency
from oellm_bench.schedulers.embedded.options import BadOption
from oellm_bench.schedulers.embedded.placement import Demand, Shape
from oellm_bench.units import parse_memory, parse_slurm_time

_BEGIN = re.compile(r"now(?:\+(?P<count>\d+)(?P<unit>second|minute|hour|day|week)?s?)?")
_BEGIN_UNIT_S = {None: 1, "second": 1, "minute": 60, "hour": 3600, "day": 86400, "week": 604800}
_SIGNAL = re.compile(r"(?:(?P<whom>[RB]+):)?(?P<signal>\w+)(?:@(?P<seconds>\d+))?")
_GRES_GPU = re.compile(r"(?:gres[:/])?gpu(?:[:=][A-Za-z]\w*)?(?:[:=](?P<count>\d+))?")
_SIGNAL_DEFAULT_S = 60  # sbatch(1), --signal
_UNFIT = "Batch job submission failed: Requested node configuration is not available"


@dataclass(frozen=True, kw_only=True)
class LimitSignal:
    """A signal sent `seconds` before the time limit, to the batch script or to what it started."""

    number: int
    seconds: int
    to_batch: bool


@dataclass(frozen=True, kw_only=True)
class JobSpec:
    """One submission. `options` holds everything given, simulated or not; the rest is read from it."""

    name: str
    arguments: tuple[str, ...] = ()
    submit_dir: str
    submit_host: str
    options: dict[str, str] = field(default_factory=dict)
    demand: Demand
    ntasks: int
    cpus_per_task: int | None
    time_limit_s: int | None
    throttle: int
    dependency: str
    eligible_at: float
    requeue: bool
    limit_signal: LimitSignal | None

    @property
    def held(self) -> bool:
        """Whether the job waits for a release."""
        return "hold" in self.options

    @property
    def chdir(self) -> str:
        """Return the working directory."""
        return self.options.get("chdir", self.submit_dir)

    def to_json(self) -> str:
        """Return the form that is kept."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> JobSpec:
        """Read what `to_json` wrote."""
        document = json.loads(text)
        document["arguments"] = tuple(document["arguments"])
        # A job that an earlier release has queued asks to stay off no node.
        demand = document["demand"]
        document["demand"] = Demand(**{**demand, "exclude": tuple(demand.get("exclude", ()))})
        if document["limit_signal"] is not None:
            document["limit_signal"] = LimitSignal(**document["limit_signal"])
        return cls(**document)


@dataclass(frozen=True, kw_only=True)
class Site:
    """What the cluster decides where the job is silent. `shrink`: a job that asks for too much gets all there is."""

    shape: Shape
    requeue: bool
    default_time_s: int | None
    shrink: bool = False


def read_spec(options: Mapping[str, str], site: Site, *, now: float, **given: Any) -> JobSpec:
    """Return the submission for sbatch's options.

    `given` are JobSpec fields that are no options: name, arguments, submit_dir, submit_host.
    Raises BadOption with sbatch's text, also for a request that no state of the cluster can satisfy.
    """
    cpus_per_task = _count(options, "cpus-per-task")
    demand, ntasks = _demand(options, site, cpus_per_task or 1)
    if options.get("open-mode", "truncate") not in ("append", "truncate"):
        raise BadOption(f"Invalid --open-mode argument: {options['open-mode']}. Ignored")
    dependency = options.get("dependency", "")
    try:
        parse_dependency(dependency)
    except ValueError as err:
        raise BadOption("Batch job submission failed: Job dependency problem") from err
    return JobSpec(
        options=dict(options),
        demand=demand,
        ntasks=ntasks,
        cpus_per_task=cpus_per_task,
        time_limit_s=_time_limit(options, site.default_time_s),
        throttle=parse_array(options["array"])[1] if "array" in options else 0,
        dependency=dependency,
        eligible_at=_begin(options.get("begin", "now"), now),
        requeue="requeue" in options or (site.requeue and "no-requeue" not in options),
        limit_signal=_limit_signal(options["signal"]) if "signal" in options else None,
        **given,
    )


def parse_array(text: str) -> tuple[tuple[int, ...], int]:
    """Return the task indices of `0-15:4,20%2` and the throttle (0: none). Raises BadOption."""
    match = re.fullmatch(r"(\d+(?:-\d+(?::\d+)?)?(?:,\d+(?:-\d+(?::\d+)?)?)*)(?:%(\d+))?", text)
    if match is None:
        raise BadOption("Batch job submission failed: Invalid job array specification")
    tasks: set[int] = set()
    for part in match[1].split(","):
        first, last, step = ([int(number) for number in re.findall(r"\d+", part)] + [-1, 1])[:3]
        tasks.update(range(first, max(first, last) + 1, max(1, step)))
    return tuple(sorted(tasks)), int(match[2] or 0)


def _demand(options: Mapping[str, str], site: Site, cpus_per_task: int) -> tuple[Demand, int]:
    """Return what each node must give, and the number of tasks; without --nodes, on the fewest that do."""
    asked, shape = options.get("nodes"), site.shape
    if asked is None:
        choices = range(1, shape.nodes + 1)
    else:
        least = re.fullmatch(r"(\d+)(?:-\d+)?", asked)
        if least is None or int(least[1]) < 1:
            raise BadOption(f'"{asked}" is not a valid node count')
        choices = range(int(least[1]), int(least[1]) + 1)
    per_node = _count(options, "ntasks-per-node")
    for nodes in choices:
        ntasks = _count(options, "ntasks") or nodes * (per_node or 1)
        demand = Demand(
            nodes=nodes,
            cpus=max(_ceil(ntasks, nodes) * cpus_per_task, _count(options, "mincpus") or 1),
            gpus=_gpus_per_node(options, nodes, ntasks),
            memory_bytes=_memory(options, _ceil(ntasks, nodes) * cpus_per_task),
            exclusive="exclusive" in options,
            exclude=tuple(node_names(options.get("exclude", ""))),
        )
        if shape.can_ever_hold(demand):
            return demand, ntasks
    if site.shrink:
        return shape.at_most(demand), ntasks
    raise BadOption(_UNFIT)


def _gpus_per_node(options: Mapping[str, str], nodes: int, ntasks: int) -> int:
    total = _gpu_count(options, "gpus") + _gpu_count(options, "gpus-per-task") * ntasks
    return max(_ceil(total, nodes), _gpu_count(options, "gpus-per-node"), _gres_gpus(options.get("gres", "")))


def _gpu_count(options: Mapping[str, str], name: str) -> int:
    """Read `4` or `a100:4`."""
    if name not in options:
        return 0
    count = options[name].rpartition(":")[2]
    if not count.isdigit():
        raise BadOption(f"Invalid --{name} specification: {options[name]}")
    return int(count)


def _gres_gpus(text: str) -> int:
    counts = [_GRES_GPU.fullmatch(part) for part in text.split(",")]
    return sum(int(match["count"] or 1) for match in counts if match)


def _memory(options: Mapping[str, str], cpus: int) -> int:
    for name, factor in (("mem", 1), ("mem-per-cpu", cpus)):
        if name in options:
            try:
                return parse_memory(options[name]) * factor
            except ValueError:
                raise BadOption(f"Invalid --{name} specification") from None
    return 0


def _time_limit(options: Mapping[str, str], default_s: int | None) -> int | None:
    if "time" not in options:
        return default_s
    try:
        return parse_slurm_time(options["time"]) or None  # sbatch(1): a limit of zero means no limit
    except ValueError:
        raise BadOption("Invalid --time specification") from None


def _begin(text: str, now: float) -> float:
    match = _BEGIN.fullmatch(text)
    if match is not None:
        return now + int(match["count"] or 0) * _BEGIN_UNIT_S[match["unit"]]
    try:
        return max(now, datetime.fromisoformat(text).timestamp())
    except ValueError:
        raise BadOption(f"Invalid --begin specification: {text}") from None


def _limit_signal(text: str) -> LimitSignal:
    match = _SIGNAL.fullmatch(text)
    number = _signal_number(match["signal"]) if match else None
    if match is None or number is None:
        raise BadOption(f"Invalid --signal specification: {text}")
    seconds = int(match["seconds"] or _SIGNAL_DEFAULT_S)
    return LimitSignal(number=number, seconds=seconds, to_batch="B" in (match["whom"] or ""))


def _signal_number(text: str) -> int | None:
    if text.isdigit():
        return int(text) if int(text) in set(signal.Signals) else None
    member = signal.Signals.__members__.get(f"SIG{text.upper().removeprefix('SIG')}")
    return None if member is None else int(member)


def _count(options: Mapping[str, str], name: str) -> int | None:
    if name not in options:
        return None
    if not options[name].isdigit() or int(options[name]) < 1:
        raise BadOption(f'Invalid numeric value "{options[name]}" for --{name}.')
    return int(options[name])


def _ceil(total: int, parts: int) -> int:
    return -(-total // parts)
