"""The command line of `run_entry`."""

from __future__ import annotations

import argparse
import math
from typing import NoReturn

from oellm_bench.errors import EXIT_USAGE


class _Parser(argparse.ArgumentParser):
    """A parser whose complaint is one line: it goes into a job's log, not to a person at a terminal."""

    def error(self, message: str) -> NoReturn:
        """Exit with the message."""
        self.exit(EXIT_USAGE, f"run_entry: {message}\n")


def call_parser() -> argparse.ArgumentParser:
    """Return the parser; it exits with 2 and one line for a wrong call."""
    parser = _Parser(prog="run_entry", description="Run one entry of a plan inside its job.")
    parser.add_argument("--sweep", required=True, help="the plan, sweep.json; its folder is the session's")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--index", type=int, help="the entry's index in the plan")
    which.add_argument("--entry", help="the entry's id")
    parser.add_argument("--attempt", type=_positive_int, help="default: one more than there are")
    parser.add_argument("--token", default="", help="the job name of this submission, kept in exit.json")
    parser.add_argument("--timeout-s", type=_positive_float, help="in place of the plan's time limit")
    parser.add_argument("--dry-run", action="store_true", help="print what would be run; change nothing")
    return parser


def _positive_int(text: str) -> int:
    if (value := int(text)) < 1:
        raise ValueError
    return value


def _positive_float(text: str) -> float:
    if not 0 < (value := float(text)) < math.inf:
        raise ValueError
    return value
