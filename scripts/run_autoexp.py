#!/usr/bin/env python3
"""The older tool's command, over this one: plan with --dry-run, else submit and monitor.

run_autoexp.py CONFIG -C DIR -o KEY=VALUE... [--dry-run] [--use-fake-slurm]
"""

import sys

from oellm_bench.cli.main import main

if __name__ == "__main__":
    arguments = ["--fake" if argument == "--use-fake-slurm" else argument for argument in sys.argv[1:]]
    if "--dry-run" in arguments:
        sys.exit(main(["plan", *(argument for argument in arguments if argument not in ("--dry-run", "--fake"))]))
    sys.exit(main(["submit", "--monitor", *arguments]))
