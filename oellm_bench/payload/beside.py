"""Run the command beside the head, to its end, with all that it leaves behind."""

from __future__ import annotations

import signal
import time

from . import processes
from .node import RayNode
from .state import State

EXIT_NOT_STARTED = 127
COMMAND_GRACE_S = 10.0
LEFTOVER_GRACE_S = 2.0


def run_command(argv: list[str], head: RayNode, address: str, state: State) -> tuple[int, bool]:
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
    began, clock = time.time(), time.monotonic()
    state.update(command_started_at=began)
    stopped = False
    while command.returncode is None and not stopped:
        number = processes.next_signal(1.0)
        processes.reap(command, head.process)
        if number in processes.RELAYED:
            processes.notify_handlers(command.pid, number)
        stopped = number in processes.STOP and command.returncode is None
    ended_at = began + time.monotonic() - clock
    if head.process.returncode is not None:
        state.update(message=f"the Ray head ended with {head.process.returncode} before the command did")
    processes.end(grace_s=COMMAND_GRACE_S if stopped else LEFTOVER_GRACE_S, spare=head.process.pid)
    processes.reap(command, head.process)
    if stopped:
        ended_at = began + time.monotonic() - clock
    state.update(command_ended_at=ended_at, returncode=command.returncode)
    return (-signal.SIGKILL if command.returncode is None else command.returncode), stopped
