"""The arguments of `matrix`."""

from __future__ import annotations

import argparse
from pathlib import Path

from oellm_bench.cli.argument_types import seconds


def matrix_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `matrix`."""
    steps = parser.add_subparsers(dest="step", required=True, metavar="{run,list,check}")
    for name, meaning in (
        ("run", "run the entries one after the other here, or on a cluster with -o slurm=..."),
        ("list", "list the entries"),
        ("check", "read everything, resolve everything, look for scripts and datasets; run nothing"),
    ):
        step = steps.add_parser(name, help=meaning)
        step.set_defaults(config="bench", request="", subset=None, retry_failed=False)
        step.add_argument(
            "--config",
            dest="files",
            action="append",
            default=[],
            type=Path,
            metavar="FILE",
            help="matrix of the newer format; may be repeated, later files change earlier ones",
        )
        step.add_argument("--matrix", type=Path, metavar="FILE", help="matrix of the older format")
        step.add_argument("--datasets", type=Path, metavar="FILE", help="JSON file of datasets for --matrix")
        step.add_argument(
            "--sink", metavar="S", help="use only these sinks, by name: S or S,T, or none (default of --matrix: none)"
        )
        step.add_argument("--session-name", metavar="N", help="name of the session's folder (default: a new one)")
        step.add_argument(
            "--entries", metavar="EXPR", help="only these: names, parts of names, patterns; and, or, not, brackets"
        )
        step.add_argument(
            "-C", "--config-dir", type=Path, metavar="DIR", help="folder searched before the packaged configuration"
        )
        step.add_argument(
            "-o", "--override", action="append", default=[], metavar="KEY=VALUE", help="Hydra override, as for submit"
        )
        step.add_argument("--fake", action="store_true", help="use the embedded scheduler in place of the cluster's")
        step.add_argument("-v", "--verbose", action="store_true", help="say more on stderr")
        if name == "run":
            step.add_argument("--yes", action="store_true", help="answer yes to every question")
            step.add_argument("--interval", type=seconds, metavar="S", help="pause between two looks, seconds")
        else:
            step.add_argument("--json", action="store_true", help="print as JSON")
