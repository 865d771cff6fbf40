"""The arguments of `megatron`."""

from __future__ import annotations

import argparse
from pathlib import Path

from oellm_bench.cli.argument_types import seconds


def megatron_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `megatron`."""
    steps = parser.add_subparsers(dest="step", required=True, metavar="{schema}")
    step = steps.add_parser("schema", help="make the table of arguments from a checkout, with its own parser")
    step.add_argument("--megatron-path", type=Path, required=True, metavar="DIR", help="folder of the checkout")
    step.add_argument(
        "--python", default="python3", metavar="PY", help="Python of the run, which has torch (default: python3)"
    )
    step.add_argument("--container", metavar="IMAGE", help="Apptainer image of the run, in which that Python is")
    step.add_argument(
        "--script", default="", metavar="FILE", help="training script, from DIR, whose own arguments count too"
    )
    step.add_argument("--output", type=Path, metavar="FILE", help="write to this file (default: stdout)")
    step.add_argument("--fresh", action="store_true", help="ask the checkout even where its answer is known")
    step.add_argument("--timeout", type=seconds, metavar="S", help="limit for its answer, seconds (default: 300)")
    step.add_argument("-v", "--verbose", action="store_true", help="name every difference to the packaged table")
