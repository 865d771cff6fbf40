"""`baseline`: choose the session that a campaign is held against."""

from __future__ import annotations

import argparse
import logging
import sys
from dataclasses import asdict
from pathlib import Path

from oellm_bench.cli.table import print_json
from oellm_bench.clock import SystemClock, utc_text
from oellm_bench.comparison.baseline import Baseline, read_baseline, write_baseline
from oellm_bench.comparison.samples import Measured, measured
from oellm_bench.errors import EXIT_DONE, UsageError
from oellm_bench.log import set_up
from oellm_bench.session import Session, campaign_of, find_session

SCHEMA_VERSION = 1
_log = logging.getLogger(__name__)


def run(args: argparse.Namespace) -> int:
    """Do what the action says."""
    set_up(verbose=args.verbose)
    if args.action == "set":
        return _set(find_session(args.session), force=args.force)
    session = campaign_of(args.session)
    return _show(session, as_json=args.json) if args.action == "show" else _clear(session)


def _set(session: Session, *, force: bool) -> int:
    found = measured(session)
    if not (found.is_good or force):
        why = _what_is_wrong(found)
        raise UsageError(f"{session.id} {why}, so it is no baseline; choose another one, or say --force")
    chosen = Baseline(
        session=session.id, session_dir=session.session_dir, set_at=SystemClock().now(), good=found.is_good
    )
    write_baseline(session.state_layout, session.project, chosen)
    sys.stderr.write(f"{session.id} is the baseline of {session.project}\n")
    return EXIT_DONE


def _what_is_wrong(found: Measured) -> str:
    if not found.finished:
        return "is not over"
    failed = [name for name, group in found.groups.items() if group.as_expected < group.planned]
    more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
    return f"did not pass ({', '.join(failed[:3])}{more})"


def _show(session: Session, *, as_json: bool) -> int:
    baseline = read_baseline(session.state_layout, session.project)
    if as_json:
        chosen = None if baseline is None else asdict(baseline)
        print_json({"schema_version": SCHEMA_VERSION, "project": session.project, "baseline": chosen})
    elif baseline is None:
        sys.stderr.write(f"{session.project} has no baseline; `oellm-bench baseline set SESSION` chooses one\n")
    else:
        sys.stdout.write(f"{baseline.session}\n")
        note = "" if baseline.good else ", which had not passed"
        sys.stderr.write(f"baseline of {session.project} since {utc_text(baseline.set_at)}{note}\n")
        if not Path(baseline.session_dir, "session.json").is_file():
            _log.warning("its folder is gone: %s", baseline.session_dir)
    return EXIT_DONE


def _clear(session: Session) -> int:
    write_baseline(session.state_layout, session.project, None)
    sys.stderr.write(f"{session.project} has no baseline\n")
    return EXIT_DONE
