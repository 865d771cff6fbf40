"""The whole command line, as argparse; imports nothing heavy, so that --help is quick."""

from __future__ import annotations

import argparse
from pathlib import Path

from oellm_bench import __version__
from oellm_bench.cli.argument_types import seconds
from oellm_bench.cli.comparing_arguments import baseline_arguments, compare_arguments, history_arguments
from oellm_bench.cli.matrix_arguments import matrix_arguments
from oellm_bench.cli.megatron_arguments import megatron_arguments

_MOST_JOBS = 1_000_000


def build_parser() -> argparse.ArgumentParser:
    """Return the parser; `args.verb` names the module of oellm_bench.cli that runs the verb."""
    parser = argparse.ArgumentParser(
        prog="oellm-bench",
        description="Plan, submit, watch, repair and record benchmark and training campaigns on SLURM.",
        epilog="Exit codes: 0 done; 1 done, and something did not pass; 2 usage or configuration; 3 a bug; "
        "4 the scheduler could not be reached; 130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"oellm-bench {__version__}")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    _plan(verbs.add_parser("plan", help="compose, expand and check a campaign; render its scripts"))
    _submit(verbs.add_parser("submit", help="plan where needed, then submit what is not submitted yet"))
    _monitor(verbs.add_parser("monitor", help="watch a session: restart, act, collect, until all is over"))
    _run(verbs.add_parser("run", help="plan, submit and watch in one go"))
    _status(verbs.add_parser("status", help="what the entries of a session are doing"))
    _sessions(verbs.add_parser("sessions", help="list known sessions, newest first"))
    _logs(verbs.add_parser("logs", help="print or follow the log of an entry, over its restarts"))
    _cancel(verbs.add_parser("cancel", help="cancel a session or some of its entries"))
    _deliver(verbs.add_parser("deliver", help="hand sinks what they have not taken while a session was watched"))
    _results(verbs.add_parser("results", help="metrics and requirements of a session's entries"))
    matrix_arguments(verbs.add_parser("matrix", help="run, list or check a benchmark matrix of the Curator formats"))
    compare_arguments(verbs.add_parser("compare", help="a session against its baseline: better, same or worse"))
    baseline_arguments(verbs.add_parser("baseline", help="choose the session that a campaign is held against"))
    history_arguments(
        verbs.add_parser("history", help="a metric over the sessions of a campaign, and where it changed")
    )
    _report(verbs.add_parser("report", help="write a session as one HTML page"))
    _simulate(verbs.add_parser("simulate", help="run a campaign on a simulated cluster, to compare policies"))
    megatron_arguments(verbs.add_parser("megatron", help="the arguments of a Megatron-LM checkout, as a table"))
    _options(verbs.add_parser("options", help="every field of the configuration"))
    return parser


def _configuration(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", nargs="?", default="bench", help="name of the root file (default: bench)")
    parser.add_argument(
        "-C", "--config-dir", type=Path, metavar="DIR", help="folder searched before the packaged configuration"
    )
    parser.add_argument(
        "-o",
        "--override",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="Hydra override: a group choice, a value, or a sweep (KEY=1,2,3); may be repeated",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on stderr")


def _plan(parser: argparse.ArgumentParser) -> None:
    _configuration(parser)
    parser.add_argument("--fake", action="store_true", help="use the embedded scheduler")
    parser.add_argument("--output", type=Path, metavar="DIR", help="session folder (default: a new one)")
    parser.add_argument(
        "--check",
        action="store_true",
        help="ask the scheduler too: sbatch --test-only once per resource shape, partition limits, named paths",
    )
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")
    parser.add_argument("--limit", type=_count, metavar="N", help="list only the first N entries")


def _submission(parser: argparse.ArgumentParser) -> None:
    _configuration(parser)
    parser.add_argument("--fake", action="store_true", help="use the embedded scheduler")
    parser.add_argument("--yes", action="store_true", help="answer yes to every question")
    parser.add_argument("--subset", type=_indices, metavar="0,3-5", help="submit only these entries, by index")
    parser.add_argument(
        "--retry-failed", action="store_true", help="submit entries again that have failed or were cancelled, too"
    )
    parser.add_argument(
        "--request", default="", metavar="ID", help="submit nothing where a session made for this request has ended"
    )


def _submit(parser: argparse.ArgumentParser) -> None:
    _submission(parser)
    parser.add_argument("--dry-run", action="store_true", help="print what would be sent; change nothing")
    parser.add_argument("--monitor", action="store_true", help="go on watching after the submission")
    parser.add_argument("--json", action="store_true", help="print session and job ids as JSON")


def _run(parser: argparse.ArgumentParser) -> None:
    _submission(parser)
    parser.add_argument("--interval", type=seconds, metavar="S", help="pause between two looks, seconds")


def _monitor(parser: argparse.ArgumentParser) -> None:
    _configuration(parser)
    parser.add_argument("--session", metavar="ID|DIR", help="watch this session instead of the campaign's newest")
    parser.add_argument("--fake", action="store_true", help="use the embedded scheduler")
    parser.add_argument("--once", action="store_true", help="one look, then exit: for cron")
    parser.add_argument("--interval", type=seconds, metavar="S", help="pause between two looks, seconds")
    parser.add_argument(
        "--as-job", action="store_true", help="run the monitor as a small SLURM job that requeues itself"
    )
    parser.add_argument("--log", action="append", default=[], type=_pair, metavar="NAME=PATH", help="watch this log")
    parser.add_argument("--job", action="append", default=[], type=_pair, metavar="NAME=ID", help="job of NAME")
    parser.add_argument(
        "--slurm-state", action="append", default=[], type=_pair, metavar="NAME=STATE", help="state of NAME's job"
    )
    parser.add_argument(
        "--action", action="append", default=[], type=_pair, metavar="NAME=CMD", help="command of an action"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would be done; change nothing")
    parser.add_argument("--json-output", action="store_true", help="print actions and decisions as JSON")


def _session(parser: argparse.ArgumentParser, *, optional: bool) -> None:
    parser.add_argument(
        "session",
        metavar="SESSION",
        help="id, unique beginning or folder of the session, or last" + (" (default: last)" if optional else ""),
        **({"nargs": "?"} if optional else {}),  # type: ignore[arg-type]
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on stderr")


def _status(parser: argparse.ArgumentParser) -> None:
    _session(parser, optional=True)
    parser.add_argument("--json", action="store_true", help="print as JSON")


def _sessions(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on stderr")


def _logs(parser: argparse.ArgumentParser) -> None:
    _session(parser, optional=False)
    parser.add_argument("entry", metavar="ENTRY", help="name, id or index of the entry")
    parser.add_argument("-f", "--follow", action="store_true", help="go on until the entry is over")
    parser.add_argument("--attempt", type=_count, metavar="N", help="only this attempt (default: all)")
    parser.add_argument(
        "--stream", choices=("stdout", "stderr", "slurm", "ray"), default="stdout", help="which log (default: stdout)"
    )


def _cancel(parser: argparse.ArgumentParser) -> None:
    _session(parser, optional=False)
    parser.add_argument("entries", nargs="*", metavar="ENTRY", help="name, id or index (default: all)")


def _deliver(parser: argparse.ArgumentParser) -> None:
    _session(parser, optional=False)
    parser.add_argument(
        "--sink", action="append", default=[], metavar="NAME", help="only this sink (default: all); may be repeated"
    )


def _results(parser: argparse.ArgumentParser) -> None:
    _session(parser, optional=True)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", help="print as JSON")
    form.add_argument("--csv", dest="form", action="store_const", const="csv", help="print as CSV")
    form.add_argument("--md", dest="form", action="store_const", const="md", help="print as Markdown")
    form.add_argument("--junit", dest="form", action="store_const", const="junit", help="print as JUnit XML")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write to this file (default: stdout)")


def _report(parser: argparse.ArgumentParser) -> None:
    _session(parser, optional=True)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write here (default: report.html of the session)")
    parser.add_argument(
        "--baseline",
        metavar="SESSION",
        help="hold it against this session (default: the campaign's baseline, else the last good session before)",
    )
    parser.add_argument(
        "--history", type=_number, default=20, metavar="N", help="earlier sessions to show (default: 20)"
    )


def _simulate(parser: argparse.ArgumentParser) -> None:
    _configuration(parser)
    parser.add_argument("--jobs", type=_job_count, metavar="N", help="entries, those of the sweep again and again")
    parser.add_argument("--seed", type=_number, default=0, metavar="S", help="another number, other luck (default: 0)")
    parser.add_argument("--interval", type=_pause, metavar="S", help="simulated pause between two looks, seconds")
    parser.add_argument(
        "--compare",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="simulate with this override; repeated: one row each; ';' between several overrides for one row",
    )
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the simulated sessions in this new folder")


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("group", nargs="?", metavar="GROUP", help="only this section or class, e.g. slurm")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.add_argument("-v", "--verbose", action="store_true", help="say more on stderr")


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 1")
    return int(text)


def _number(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 0")
    return int(text)


def _pause(text: str) -> float:
    pause_s = seconds(text)
    if pause_s < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds from 1")
    return pause_s


def _job_count(text: str) -> int:
    count = _count(text)
    if count > _MOST_JOBS:
        raise argparse.ArgumentTypeError(f"{text} jobs are more than can be simulated; give up to {_MOST_JOBS}")
    return count


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise argparse.ArgumentTypeError(f"'{text}' is not NAME=VALUE")
    return name, value


def _indices(text: str) -> frozenset[int]:
    """Return the indices in `0,3-5`."""
    found: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.partition("-")
        if not first.isdigit() or (dash and not last.isdigit()) or (dash and int(last) < int(first)):
            raise argparse.ArgumentTypeError(f"'{part}' in '{text}' is neither an index nor a range like 3-5")
        found.update(range(int(first), int(last if dash else first) + 1))
    return frozenset(found)
