"""`plan`: compose, expand, check, render."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from oellm_bench.cli.configuration import prepare
from oellm_bench.cli.table import console, print_json, table
from oellm_bench.clock import SystemClock
from oellm_bench.core.plan import Plan, entry_document
from oellm_bench.errors import EXIT_DONE
from oellm_bench.log import set_up
from oellm_bench.session import Session
from oellm_bench.units import format_duration

SCHEMA_VERSION = 1
_SHOWN = 50


def run(args: argparse.Namespace) -> int:
    """Write the session folder and print what is in it."""
    set_up(verbose=args.verbose)
    prepared = prepare(args, output=args.output)
    session = prepared.written(SystemClock())
    plan = prepared.campaign.plan
    if args.json:
        print_json(plan_document(session, plan, args.limit))
        return EXIT_DONE
    sys.stdout.write(f"{session.session_dir}\n")
    out = console()
    limit = args.limit or _SHOWN
    rows = [
        (entry.index, entry.name, entry.script, _task(entry.task), format_duration(entry.timeout_s))
        for entry in plan.entries[:limit]
    ]
    out.print(table(("index", "name", "script", "task", "timeout"), rows))
    if len(plan.entries) > limit:
        out.print(f"... and {len(plan.entries) - limit} more (--limit N shows N)")
    out.print(summary(plan))
    sys.stderr.write(
        "nothing was submitted; `oellm-bench submit` with the same arguments does (--fake: on this machine)\n"
    )
    return EXIT_DONE


def summary(plan: Plan) -> str:
    """Return one line on what a plan costs at the most."""
    arrays = len({entry.script for entry in plan.entries if entry.task is not None})
    singles = sum(entry.task is None for entry in plan.entries)
    jobs = f"{singles} jobs" if not arrays else f"{len(plan.entries) - singles} tasks in {arrays} arrays"
    return (
        f"{len(plan.entries)} entries, {jobs}, at most {plan.node_hours:.4g} node-hours"
        f" and {plan.gpu_hours:.4g} GPU-hours"
    )


def plan_document(session: Session, plan: Plan, limit: int | None) -> dict[str, Any]:
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
        "totals": {
            "entries": len(plan.entries),
            "node_hours": plan.node_hours,
            "gpu_hours": plan.gpu_hours,
        },
    }


def _task(task: int | None) -> str:
    return "" if task is None else str(task)
