"""`run`: plan, submit and watch, attached."""

from __future__ import annotations

import argparse
import sys

from oellm_bench.cli.configuration import Prepared, prepare
from oellm_bench.cli.results import print_results
from oellm_bench.cli.submit import submit
from oellm_bench.cli.watching import watch
from oellm_bench.errors import EXIT_DONE, EXIT_UNREACHABLE
from oellm_bench.log import set_up


def run(args: argparse.Namespace) -> int:
    """Return the monitor's exit code, after the table of results."""
    set_up(verbose=args.verbose)
    return run_attached(args, prepare(args))


def run_attached(args: argparse.Namespace, ready: Prepared) -> int:
    """Submit what is prepared, watch it to its end, print the results, and return the exit code."""
    session, code = submit(args, ready)
    sys.stdout.write(f"{session.id}\n")
    sys.stdout.flush()
    if code == EXIT_UNREACHABLE:
        return code
    watched = watch(session, interval_s=args.interval, once=False, actions={})
    print_results(session, None)
    return watched if code == EXIT_DONE else max(code, watched)
