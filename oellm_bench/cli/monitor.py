"""`monitor`: watch a session, or rehearse what would be done."""

from __future__ import annotations

import argparse
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from oellm_bench.cli.configuration import compose
from oellm_bench.cli.rehearse import rehearse_logs, rehearse_session
from oellm_bench.cli.watching import watch
from oellm_bench.config.project import base_project
from oellm_bench.config.schema import Project
from oellm_bench.errors import UsageError
from oellm_bench.log import set_up
from oellm_bench.session import Session, find_session, latest
from oellm_bench.session_writing import monitor_job


def run(args: argparse.Namespace) -> int:
    """Watch the session until all is over (one look with --once) and return how it went."""
    set_up(verbose=args.verbose)
    if args.log or args.slurm_state or args.job:
        return rehearse_logs(args)
    actions = dict(args.action)
    if args.session:
        session = find_session(args.session)
        job_options: Mapping[str, Any] = session.monitor_job
    else:
        project = base_project(compose(args))
        session, job_options = _session_of(project, embedded=args.fake), monitor_job(project.slurm)
    if args.as_job:
        as_job = importlib.import_module("oellm_bench.cli.as_job")  # submitit is slow to import
        return int(as_job.submit_monitor(session, job_options, interval_s=args.interval, actions=actions))
    if args.dry_run:
        return rehearse_session(session, actions, as_json=args.json_output)
    return watch(session, interval_s=args.interval, once=args.once, actions=actions)


def _session_of(configured: Project, *, embedded: bool) -> Session:
    project = configured.project
    base = Path(project.base_output_dir).absolute()
    session = latest(base, project.name, embedded=embedded)
    if session is None:
        where = " on the embedded scheduler" if embedded else ""
        what = f"no submitted session of '{project.name}'{where} in {base}"
        raise UsageError(f"{what}; submit it, or name one with --session")
    return session
