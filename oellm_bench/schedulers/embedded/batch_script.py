"""Start a batch script as slurmstepd does: own session, its files opened, its interpreter executed."""

from __future__ import annotations

import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_BAD_INTERPRETER_EXIT = 2  # what Slurm reports: FAILED 2:0


class LaunchError(Exception):
    """The job's directory or log cannot be opened, so that there is nowhere to say so either."""


def open_log(path: str, *, append: bool) -> int:
    """Open a log of the job and return the descriptor. Raises OSError."""
    kind = os.O_APPEND if append else os.O_TRUNC
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | kind, 0o666)


def start(order: Mapping[str, Any], environment: Mapping[str, str]) -> int:
    """Start the script of an order and return its process id. Raises LaunchError.

    A script whose interpreter cannot be executed says so in its error file and exits with 2.
    """
    try:
        os.chdir(order["chdir"])
        output = open_log(order["output"], append=order["append"])
        error = open_log(order["error"], append=order["append"]) if order["error"] else output
    except OSError as err:
        raise LaunchError(str(err)) from err
    pid = os.fork()
    if pid == 0:
        _become_script(order, environment, output, error)
    os.chdir("/")  # the supervisor must not keep a file system busy
    for descriptor in {output, error}:
        os.close(descriptor)
    return pid


def interpreter(script: Path) -> list[str]:
    """Return the words of the script's #! line as the kernel reads them: a program and one argument.

    Executing the interpreter instead of the file works on a file system mounted noexec as well.
    """
    with script.open("rb") as stream:
        line = stream.readline(4096)
    words = line[2:].strip().split(None, 1)
    return [os.fsdecode(word) for word in words]


def _become_script(order: Mapping[str, Any], environment: Mapping[str, str], output: int, error: int) -> None:
    """Replace this (forked) process by the script. Does not return."""
    try:
        os.setsid()
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)  # Python ignores SIGPIPE, and ignoring is inherited
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(error, 2)
        script = Path(order["script"])
        argv = [*interpreter(script), str(script), *order["arguments"]]
        try:
            os.execve(argv[0], argv, environment)  # noqa: S606 - no shell is the point
        except OSError as err:
            text = f"slurmstepd: error: execve(): bad interpreter({argv[0]}): {err.strerror}\n"
            os.write(2, text.encode(errors="surrogateescape"))
    finally:
        os._exit(_BAD_INTERPRETER_EXIT)
