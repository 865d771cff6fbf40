"""Run the command beside the head, to its end, with all that it leaves behind."""

from __future__ import annotations

import signal
import time

from . import processes
from .node import RayNode
from .shared import LentHead
from .state import State

EXIT_NOT_STARTED = 127
COMMAND_GRACE_S = 10.0
LEFTOVER_GRACE_S = 2.0


def run_command(argv: list[str], head: RayNode | LentHead, address: str, state: State) -> tuple[int, bool]:
    """Run the command to its end, passing signals on; return its code, negative for a signal, and whether we were
    told to stop it.

    Whatever it leaves behind is ended too: everything below this process that is not the head's.
    """
    try:
        command = processes.popen(argv, head.environment(RAY_ADDRESS=address), stdout=None)
    except OSError as err:
        message = f"cannot start {err.filename or argv[0]}: {err.strerror}"
        state.update(failure="crash", message=message)
        processes.say(message)
        return EXIT_NOT_STARTED, False
    ours = [head.process] if head.process else []
    began, clock = time.time(), time.monotonic()
    state.update(command_started_at=began)
    stopped = False
    while command.returncode is None and not stopped:
        number = processes.next_signal(1.0)
        processes.reap(command, *ours)
        if number in processes.RELAYED:
            processes.notify_handlers(command.pid, number)
        stopped = number in processes.STOP and command.returncode is None
    ended_at = began + time.monotonic() - clock
    how = head.end()
    if how:
        state.update(message=f"the Ray head ended {how} before the command did")
    spare = head.process.pid if head.process else 0
    processes.end(grace_s=COMMAND_GRACE_S if stopped else LEFTOVER_GRACE_S, spare=spare)
    processes.reap(command, *ours)
    if stopped:
        ended_at = began + time.monotonic() - clock
    state.update(command_ended_at=ended_at, returncode=command.returncode)
    return (-signal.SIGKILL if command.returncode is None else command.returncode), stopped
