"""What the common options of sbatch mean, and which values they take.

Source: sbatch(1), Slurm 22.05 to 25.05. Other options are known by name only; sbatch itself judges their values.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from oellm_bench.core import slurm_options
from oellm_bench.units import parse_slurm_time

_NUMBER = r"[1-9]\d*"
_COUNT = re.compile(rf"{_NUMBER}[kKmM]?")
_RANGE = rf"{_NUMBER}[kKmM]?(?:-{_NUMBER}[kKmM]?(?::\d+)?)?"
_NODES = re.compile(rf"{_RANGE}(?:,{_RANGE})*")
_GPUS = re.compile(r"(?:[\w.-]+:)?\d+(?:,(?:[\w.-]+:)?\d+)*")
_GRES = re.compile(r"none|[\w/.-]+(?::[\w.-]+)?(?::\d+[kKmMgG]?)?(?:,[\w/.-]+(?::[\w.-]+)?(?::\d+[kKmMgG]?)?)*")
_MEMORY = re.compile(r"\d+(?:[KMGTkmgt][bB]?)?")
_WORD = re.compile(r"[^\s,]+")
_WORDS = re.compile(r"[^\s,]+(?:,[^\s,]+)*")
_TEXT = re.compile(r".*\S.*")
_ADDRESS = re.compile(r"[^\s,]+(?:,[^\s,]+)*")
_SIGNAL = re.compile(r"(?:[RB]{1,2}:)?(?:\d+|(?:SIG)?[A-Za-z][A-Za-z0-9+-]*)(?:@\d{1,5})?")
_JOB = r"\d+(?:_(?:\d+|\*))?(?:\+\d+)?"
_TERM = rf"(?:singleton|after(?:any|burstbuffer|corr|notok|ok)?:{_JOB}(?::{_JOB})*)"
_DEPENDENCY = re.compile(rf"{_TERM}(?:,{_TERM})*|{_TERM}(?:\?{_TERM})+")
_MAIL = frozenset(
    "NONE BEGIN END FAIL REQUEUE ALL INVALID_DEPEND STAGE_OUT TIME_LIMIT TIME_LIMIT_90 TIME_LIMIT_80 TIME_LIMIT_50 "
    "ARRAY_TASKS".split()
)


@dataclass(frozen=True, kw_only=True)
class Option:
    """A common option: what it asks for, how a value is told from a slip, and what to write instead."""

    meaning: str
    takes: Callable[[str], object]
    example: str


def _is_time(text: str) -> bool:
    try:
        parse_slurm_time(text)
    except ValueError:
        return False
    return True


def _is_mail_type(text: str) -> bool:
    return all(part.upper() in _MAIL for part in text.split(","))


_PER_NODE = "a number, 4, or with types, a100:4"
COMMON: Mapping[str, Option] = {
    "partition": Option(meaning="partition, or several to choose from", takes=_WORDS.fullmatch, example="a name, gpu"),
    "account": Option(meaning="account that is charged", takes=_WORD.fullmatch, example="one name"),
    "qos": Option(meaning="quality of service", takes=_WORD.fullmatch, example="one name"),
    "nodes": Option(meaning="nodes", takes=_NODES.fullmatch, example="a number, 4, or a range, 2-4"),
    "ntasks": Option(meaning="tasks that srun starts", takes=_COUNT.fullmatch, example="a number from 1"),
    "ntasks-per-node": Option(meaning="tasks on each node", takes=_COUNT.fullmatch, example="a number from 1"),
    "cpus-per-task": Option(meaning="CPUs of each task", takes=_COUNT.fullmatch, example="a number from 1"),
    "cpus-per-gpu": Option(meaning="CPUs for each GPU", takes=_COUNT.fullmatch, example="a number from 1"),
    "gpus": Option(meaning="GPUs over all nodes", takes=_GPUS.fullmatch, example=_PER_NODE),
    "gpus-per-node": Option(meaning="GPUs on each node", takes=_GPUS.fullmatch, example=_PER_NODE),
    "gpus-per-task": Option(meaning="GPUs of each task", takes=_GPUS.fullmatch, example=_PER_NODE),
    "gres": Option(meaning="generic resources of each node", takes=_GRES.fullmatch, example="gpu:4 or gpu:a100:4"),
    "mem": Option(meaning="memory of each node; a bare number is MiB", takes=_MEMORY.fullmatch, example="64G"),
    "mem-per-cpu": Option(meaning="memory for each CPU", takes=_MEMORY.fullmatch, example="4G"),
    "mem-per-gpu": Option(meaning="memory for each GPU", takes=_MEMORY.fullmatch, example="64G"),
    "time": Option(
        meaning="walltime; without it project.timeout_s plus start and clean-up",
        takes=_is_time,
        example="minutes, H:MM:SS or D-HH:MM:SS",
    ),
    "time-min": Option(
        meaning="least walltime to be content with", takes=_is_time, example="minutes, H:MM:SS or D-HH:MM:SS"
    ),
    "constraint": Option(meaning="features a node must have", takes=_TEXT.fullmatch, example="a feature, a100&nvme"),
    "exclude": Option(meaning="nodes not to use", takes=_WORDS.fullmatch, example="node[1-3],node7"),
    "nodelist": Option(meaning="nodes to use", takes=_WORDS.fullmatch, example="node[1-3],node7"),
    "reservation": Option(meaning="reservation to run in", takes=_WORDS.fullmatch, example="a name"),
    "dependency": Option(
        meaning="jobs to wait for", takes=_DEPENDENCY.fullmatch, example="afterok:123:124, or singleton"
    ),
    "mail-type": Option(
        meaning="events that mail is sent for", takes=_is_mail_type, example=f"some of {', '.join(sorted(_MAIL))}"
    ),
    "mail-user": Option(meaning="who gets the mail", takes=_ADDRESS.fullmatch, example="an address"),
    "signal": Option(
        meaning="signal before the time limit, to the script with B:", takes=_SIGNAL.fullmatch, example="B:USR1@120"
    ),
}


def value_problem(name: str, value: object) -> tuple[str, str] | None:
    """Return what is wrong with the value of an option and what to do, None for one that sbatch may take.

    `value` is as YAML gives it: `true` asks for a bare flag.
    """
    if name in slurm_options.FLAGS:
        return None if isinstance(value, bool) else (f"--{name} takes no value, not '{value}'", "give true or false")
    if value is True and name not in slurm_options.OPTIONAL_VALUE:
        return f"--{name} needs a value", "give one"
    common = COMMON.get(name)
    if common is None or common.takes(str(value)):
        return None
    return f"'{value}' is no value of --{name}", f"give {common.example}"
