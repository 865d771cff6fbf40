"""Ask the embedded scheduler to misbehave: `python -m ...embedded.fault FOLDER KIND [key=value ...]`."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path
from typing import Any

from oellm_bench.errors import BenchError, UsageError
from oellm_bench.schedulers.embedded.faults import install, read_fault
from oellm_bench.schedulers.embedded.layout import Layout
from oellm_bench.schedulers.embedded.records import poke
from oellm_bench.schedulers.embedded.store import connect


def inject(folder: Path, kind: str, **arguments: Any) -> None:
    """Install a fault from now on; `faults` has the table of kinds and arguments.

    Raises UsageError for a fault that does not exist, StateError for an unreadable folder.
    """
    try:
        fault = read_fault({"kind": kind, **arguments})
    except ValueError as err:
        raise UsageError(str(err)) from err
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    layout = Layout(folder.resolve())
    with contextlib.closing(connect(layout.database)) as connection:
        install(connection, fault, origin=None, now=time.time())
    poke(layout.wake)


def main(arguments: list[str]) -> int:
    """Run the command line."""
    try:
        if len(arguments) < 2 or not all("=" in argument for argument in arguments[2:]):
            raise UsageError("usage: python -m oellm_bench.schedulers.embedded.fault FOLDER KIND [key=value ...]")
        pairs = dict(argument.split("=", 1) for argument in arguments[2:])
        inject(Path(arguments[0]), arguments[1], **pairs)
    except BenchError as err:
        print(err, file=sys.stderr)  # noqa: T201 - a command line's answer
        return err.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
