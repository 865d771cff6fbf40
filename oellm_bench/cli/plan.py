"""`plan`: compose, expand, check, render; with --check hold it against the cluster."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import asdict
from typing import Any

from oellm_bench.assemble import make_book, open_scheduler
from oellm_bench.checking import Report, check_plan, sink_problems
from oellm_bench.cli.configuration import Prepared, prepare
from oellm_bench.cli.stage_tree import stage_documents, stage_tree
from oellm_bench.cli.table import console, print_json, table
from oellm_bench.clock import SystemClock
from oellm_bench.core.plan import Plan, entry_document, gpu_hours, node_hours
from oellm_bench.errors import EXIT_DONE, EXIT_USAGE, SchedulerError
from oellm_bench.log import set_up
from oellm_bench.session import Session
from oellm_bench.stages import is_worth_drawing, stages_of
from oellm_bench.units import format_duration, format_slurm_time

SCHEMA_VERSION = 1
_SHOWN = 50


def run(args: argparse.Namespace) -> int:
    """Write the session folder and print what is in it; 2 where the cluster would not run it."""
    set_up(verbose=args.verbose)
    prepared = prepare(args, output=args.output)
    session = prepared.written(SystemClock())
    plan = prepared.campaign.plan
    if not args.json:
        _print_plan(session, plan, args.limit)
    for problem in sink_problems(prepared.campaign.project.sinks):
        sys.stderr.write(f"oellm-bench: submit will refuse this: {problem}\n")
    report = _check(prepared, session) if args.check else None
    if args.json:
        print_json(plan_document(session, plan, args.limit, report))
    elif report is not None:
        _print_report(report)
    problems = () if report is None else report.problems
    for problem in problems:
        sys.stderr.write(f"oellm-bench: {problem}\n")
    for warning in () if report is None else report.warnings:
        sys.stderr.write(f"oellm-bench: the scheduler takes it all the same: {warning}\n")
    if not (args.json or problems):
        sys.stderr.write(
            "nothing was submitted; `oellm-bench submit` with the same arguments does (--fake: on this machine)\n"
        )
    return EXIT_USAGE if problems else EXIT_DONE


def _check(prepared: Prepared, session: Session) -> Report:
    """Ask the scheduler. Raises SchedulerError that says where the plan lies all the same."""
    campaign = prepared.campaign
    try:
        return check_plan(
            make_book(session, campaign.plan),
            open_scheduler(session),
            paths=campaign.inputs,
            images=campaign.images,
            environment=os.environ,
        )
    except SchedulerError as err:
        raise type(err)(f"{err}; the plan is written and was not checked: {session.session_dir}") from err


def _print_plan(session: Session, plan: Plan, shown: int | None) -> None:
    sys.stdout.write(f"{session.session_dir}\n")
    out = console()
    limit = shown or _SHOWN
    rows = [
        (entry.index, entry.name, entry.script, _task(entry.task), format_duration(entry.timeout_s))
        for entry in plan.entries[:limit]
    ]
    out.print(table(("index", "name", "script", "task", "timeout"), rows))
    if len(plan.entries) > limit:
        out.print(f"... and {len(plan.entries) - limit} more (--limit N shows N)")
    stages = stages_of(plan)
    if is_worth_drawing(stages):
        out.print(stage_tree(stages))
    out.print(summary(plan))


def _print_report(report: Report) -> None:
    rows = [
        (
            len(shape.entries),
            shape.partition,
            shape.entries[0].resources.nodes,
            shape.entries[0].resources.gpus,
            format_slurm_time(shape.entries[0].resources.walltime_s),
            f"{node_hours(shape.entries):.4g}",
            f"{gpu_hours(shape.entries):.4g}",
            shape.trial.message if shape.trial.accepted else "refused, see below",
        )
        for shape in report.shapes
    ]
    columns = ("entries", "partition", "nodes", "GPUs", "walltime", "node-hours", "GPU-hours", "the scheduler says")
    console().print(table(columns, rows))


def summary(plan: Plan) -> str:
    """Return one line on what a plan costs at the most."""
    arrays = len({entry.script for entry in plan.entries if entry.task is not None})
    singles = sum(entry.task is None for entry in plan.entries)
    jobs = f"{singles} jobs" if not arrays else f"{len(plan.entries) - singles} tasks in {arrays} arrays"
    return (
        f"{len(plan.entries)} entries, {jobs}, at most {plan.node_hours:.4g} node-hours"
        f" and {plan.gpu_hours:.4g} GPU-hours"
    )


def plan_document(session: Session, plan: Plan, limit: int | None, report: Report | None = None) -> dict[str, Any]:
    """Return what `plan --json` prints."""
    entries = [
        {**entry_document(entry), "script": str(session.layout.root / entry.script)} for entry in plan.entries[:limit]
    ]
    scripts = dict.fromkeys(str(session.layout.root / entry.script) for entry in plan.entries)
    return {
        "schema_version": SCHEMA_VERSION,
        "session": session.id,
        "output_dir": session.session_dir,
        "entries": entries,
        "scripts": list(scripts),
        "stages": stage_documents(stages_of(plan)),
        "totals": {
            "entries": len(plan.entries),
            "node_hours": plan.node_hours,
            "gpu_hours": plan.gpu_hours,
        },
        **({} if report is None else {"check": report_document(report)}),
    }


def report_document(report: Report) -> dict[str, Any]:
    """Return what `plan --check --json` adds."""
    return {
        "shapes": [
            {
                "entries": [entry.name for entry in shape.entries],
                "partition": shape.partition,
                **asdict(shape.entries[0].resources),
                "node_hours": node_hours(shape.entries),
                "gpu_hours": gpu_hours(shape.entries),
                "accepted": shape.trial.accepted,
                "message": shape.trial.message,
            }
            for shape in report.shapes
        ],
        "problems": [asdict(problem) for problem in report.problems],
        "warnings": [asdict(warning) for warning in report.warnings],
    }


def _task(task: int | None) -> str:
    return "" if task is None else str(task)
