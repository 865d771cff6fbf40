"""`report`: a session as one HTML page."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from oellm_bench.clock import SystemClock
from oellm_bench.errors import EXIT_DONE
from oellm_bench.fileio import atomic_write_text
from oellm_bench.log import set_up
from oellm_bench.reporting.gather import gather
from oellm_bench.reporting.page import render
from oellm_bench.reporting.past import read_past
from oellm_bench.session import find_session


def run(args: argparse.Namespace) -> int:
    """Write the page and print its path; whether the entries passed is for `results` to say."""
    set_up(verbose=args.verbose)
    session = find_session(args.session)
    baseline = find_session(args.baseline) if args.baseline else None
    output: Path = (args.output or session.layout.report).absolute()
    past = read_past(session, baseline, args.history)
    if baseline is not None and past.reason:
        sys.stderr.write(f"oellm-bench: not compared: {past.reason}\n")
    report = gather(session, now=SystemClock().now(), past=past)
    atomic_write_text(output, render(report, output))
    sys.stdout.write(f"{output}\n")
    return EXIT_DONE
