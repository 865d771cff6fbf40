"""Wake the controller of a folder, or start one."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Mapping

from oellm_bench.schedulers.embedded import program
from oellm_bench.schedulers.embedded.identity import MARK
from oellm_bench.schedulers.embedded.layout import Layout
from oellm_bench.schedulers.embedded.records import poke
from oellm_bench.shell import command_line

_START_TIMEOUT_S = 30.0
_log = logging.getLogger(__name__)


def write_srun(layout: Layout) -> None:
    """Put our srun where jobs find it; renamed into place, since jobs may be looking."""
    layout.programs.mkdir(exist_ok=True)
    written = layout.programs / f"srun.{os.getpid()}"
    written.write_text(f'#!/bin/sh\nexec {command_line(program.argv("srun"))} "$@"\n', encoding="utf-8")
    written.chmod(0o755)
    written.replace(layout.programs / "srun")


def ensure_running(layout: Layout, environment: Mapping[str, str]) -> None:
    """Wake the controller, or start one, which then has `environment` for the secrets of jobs.

    Where none can be started this is logged and no more: jobs are safe in the database, and the next call
    tries again. One that is started inside a job ends with that job, as everything in it does.
    """
    if poke(layout.wake):
        return
    try:
        with layout.log.open("ab") as log:
            # Returns as soon as the program has detached itself.
            subprocess.run(
                program.argv("controller", str(layout.folder)),
                env={name: value for name, value in environment.items() if name != MARK},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                timeout=_START_TIMEOUT_S,
                check=True,
            )
    except (OSError, subprocess.SubprocessError) as err:
        _log.warning("no controller of the embedded scheduler in %s: %s", layout.folder, err)
