"""What jobs of the embedded scheduler find as `srun`: the tasks of a step, all on this machine.

Cluster's commands are often started by srun, and the cluster's own knows nothing of these jobs. Each task gets
SLURM_PROCID, SLURM_LOCALID and SLURM_NODEID as if the nodes that the job asked for were there.

Source: srun(1), OPTIONS and OUTPUT ENVIRONMENT VARIABLES.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import FrameType

from oellm_bench.core.slurm_options import SRUN, TAKES_VALUE

# What a job asked for, beside what it was given: a machine may be smaller than a cluster.
ASKED_NODES, ASKED_TASKS = "SLURM_EMBEDDED_NODES", "SLURM_EMBEDDED_NTASKS"
_SHORT = {"n": "ntasks", "N": "nodes", "c": "cpus-per-task", "w": "nodelist", "p": "partition", "t": "time"}
_SHORT_FLAGS = {"l": "label", "u": "unbuffered", "K": "kill-on-bad-exit", "v": "verbose", "Q": "quiet"}
_OWN_VALUES = frozenset("cpu-bind mpi accel-bind bcast epilog prolog task-epilog task-prolog threads treewidth".split())
_EXIT_USAGE, _EXIT_NOT_FOUND = 1, 127


class BadCall(ValueError):
    """A command line that srun would refuse."""


@dataclass(frozen=True)
class Step:
    """The tasks of one call: how many, on how many nodes, of which command."""

    tasks: int
    nodes: int
    options: Mapping[str, str]
    command: tuple[str, ...]

    def variables(self, rank: int) -> dict[str, str]:
        """Return what a task is told of itself."""
        each = -(-self.tasks // self.nodes)
        values = {
            "SLURM_PROCID": rank,
            "SLURM_LOCALID": rank % each,
            "SLURM_NODEID": rank // each,
            "SLURM_NTASKS": self.tasks,
            "SLURM_NPROCS": self.tasks,
            "SLURM_NNODES": self.nodes,
            "SLURM_JOB_NUM_NODES": self.nodes,
            "SLURM_STEP_ID": 0,
            "SLURM_STEP_NUM_NODES": self.nodes,
            "SLURM_STEP_NUM_TASKS": self.tasks,
            "SLURM_TASKS_PER_NODE": f"{each}(x{self.nodes})" if self.nodes > 1 else each,
        }
        return {name: str(value) for name, value in values.items()}


def main(*arguments: str) -> int:
    """Run the tasks and return the highest of their exit codes, as srun does."""
    try:
        step = read_call(arguments, os.environ)
    except BadCall as err:
        sys.stderr.write(f"srun: error: {err}\n")
        return _EXIT_USAGE
    running: list[subprocess.Popen[bytes]] = []
    ended = {"by": 0}

    def pass_on(number: int, _frame: FrameType | None) -> None:
        ended["by"] = number
        for process in running:
            if process.poll() is None:
                process.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, pass_on)
    for rank in range(step.tasks):
        environment = {**os.environ, **step.variables(rank)}
        try:
            process = subprocess.Popen(step.command, env=environment, stdin=None if rank == 0 else subprocess.DEVNULL)
        except OSError as err:
            sys.stderr.write(f"srun: error: {step.command[0]}: {err.strerror}\n")
            _end(running)
            return _EXIT_NOT_FOUND
        running.append(process)
    return _waited(running, kill_on_bad_exit=step.options.get("kill-on-bad-exit") not in (None, "0"))


def read_call(arguments: Sequence[str], environment: Mapping[str, str]) -> Step:
    """Return the step that a call asks for. Raises BadCall for an option that srun does not have."""
    options: dict[str, str] = {}
    words = [*arguments]
    while words and words[0].startswith("-") and words[0] != "-":
        word = words.pop(0)
        if word == "--":
            break
        name, value, has_value = _read(word)
        if not has_value and (name in TAKES_VALUE or name in _OWN_VALUES):
            if not words:
                raise BadCall(f"option '{word}' requires an argument")
            value = words.pop(0)
        options[name] = value
    if not words:
        raise BadCall("no command given to execute")
    nodes = _number(options, "nodes") or int(environment.get(ASKED_NODES, "1"))
    tasks = _number(options, "ntasks") or int(environment.get(ASKED_TASKS, "0"))
    tasks = tasks or (_number(options, "ntasks-per-node") or 1) * nodes
    return Step(tasks=tasks, nodes=min(nodes, tasks), options=options, command=tuple(words))


def _read(word: str) -> tuple[str, str, bool]:
    """Return an option's long name, its value, and whether it has one."""
    if word.startswith("--"):
        name, equals, value = word[2:].partition("=")
        if name not in SRUN:
            raise BadCall(f"unrecognized option '--{name}'")
        return name, value, bool(equals)
    if word[1] in _SHORT_FLAGS:
        return _SHORT_FLAGS[word[1]], word[2:], True
    if word[1] not in _SHORT:
        raise BadCall(f"invalid option -- '{word[1]}'")
    return _SHORT[word[1]], word[2:].removeprefix("="), len(word) > 2


def _number(options: Mapping[str, str], name: str) -> int:
    text = options.get(name, "0").partition("-")[0]
    if not text.isdecimal():
        raise BadCall(f'Invalid numeric value "{options[name]}" for --{name}.')
    return int(text)


def _waited(running: Sequence[subprocess.Popen[bytes]], *, kill_on_bad_exit: bool) -> int:
    """Wait for all tasks and return the highest exit code; 128+n for one that signal n ended."""
    codes: dict[int, int] = {}
    while len(codes) < len(running):
        pid, status = os.wait()
        process = next((process for process in running if process.pid == pid), None)
        if process is None:
            continue  # an orphan that came down to us
        process.returncode = os.waitstatus_to_exitcode(status)
        codes[pid] = process.returncode if process.returncode >= 0 else 128 - process.returncode
        if kill_on_bad_exit and codes[pid]:
            _end(running)
    return max(codes.values())


def _end(running: Sequence[subprocess.Popen[bytes]]) -> None:
    for process in running:
        if process.returncode is None:
            process.kill()
