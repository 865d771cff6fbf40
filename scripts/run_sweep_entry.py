#!/usr/bin/env python3
"""Run one entry of a plan here: `run_sweep_entry.py --sweep SESSION/sweep.json --index N [--dry-run]`."""

import sys

from oellm_bench.run_entry import main

if __name__ == "__main__":
    sys.exit(main())
