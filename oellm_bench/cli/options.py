"""`options`: every field of the configuration."""

from __future__ import annotations

import argparse

from oellm_bench.cli.table import console, print_json, table
from oellm_bench.config.options import list_options
from oellm_bench.errors import EXIT_DONE
from oellm_bench.log import set_up

SCHEMA_VERSION = 1


def run(args: argparse.Namespace) -> int:
    """Print key, type, default, unit and meaning of each field."""
    set_up(verbose=args.verbose)
    rows = list_options(args.group)
    if args.json:
        print_json({"schema_version": SCHEMA_VERSION, "options": rows})
        return EXIT_DONE
    columns = ("key", "type", "default", "unit", "meaning")
    console().print(table(columns, [[row[name] for name in columns] for row in rows]))
    return EXIT_DONE
