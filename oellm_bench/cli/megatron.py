"""`megatron`: the arguments of a Megatron-LM checkout as a table."""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from oellm_bench.errors import EXIT_DONE, ConfigError, UsageError
from oellm_bench.fileio import atomic_write_text
from oellm_bench.launchers.apptainer import PROGRAMS, ApptainerConfig, ApptainerLauncher
from oellm_bench.launchers.base import Place
from oellm_bench.log import set_up
from oellm_bench.megatron.asking import TIMEOUT_S, Interpreter
from oellm_bench.megatron.checkout import difference, table_for, table_text
from oellm_bench.megatron.table import Table, packaged_table

_MOST_NAMES = 5


def run(args: argparse.Namespace) -> int:
    """Print the table, or write it; say on stderr in what it differs from the packaged one."""
    set_up(verbose=args.verbose)
    checkout: Path = args.megatron_path.absolute()
    prefix = _container(args.container, checkout, checkout / args.script) if args.container else ()
    interpreter = Interpreter(python=args.python, prefix=prefix, script=args.script)
    timeout_s = TIMEOUT_S if args.timeout is None else args.timeout
    try:
        table = table_for(checkout, interpreter, fresh=args.fresh, timeout_s=timeout_s)
    except ConfigError as err:
        flags = (replace(problem, where=f"--{problem.where.replace('_', '-')}") for problem in err.problems)
        raise ConfigError(flags) from err
    if args.output:
        atomic_write_text(args.output.absolute(), table_text(table))
    sys.stdout.write(f"{args.output.absolute()}\n" if args.output else table_text(table))
    sys.stderr.write(_summary(table, packaged_table(), every=args.verbose))
    return EXIT_DONE


def _container(image: str, checkout: Path, script: Path) -> tuple[str, ...]:
    program = next(filter(shutil.which, PROGRAMS), "")
    if not program:
        raise UsageError(f"--container: {' and '.join(PROGRAMS)} are not on PATH; load the site's module of one")
    if "://" not in image and not Path(image).exists():
        raise UsageError(f"--container: there is no '{image}'; correct the path of the image")
    where = image if "://" in image else str(Path(image).absolute())
    launcher = ApptainerLauncher(ApptainerConfig(image=where, program=program))
    readable = () if checkout in (script, *script.parents) else (str(script.parent),)
    return launcher.prefix(Place(cwd=str(checkout), readable=readable))


def _summary(table: Table, packaged: Table, *, every: bool) -> str:
    found = difference(table, packaged)
    lines = [f"{len(table.arguments)} arguments of {table.source}", f"against the packaged table ({packaged.source}):"]
    for word, names in (("new", found.new), ("gone", found.gone), ("changed", found.changed)):
        shown = names if every else names[:_MOST_NAMES]
        more = [f"and {len(names) - len(shown)} more"] if len(names) > len(shown) else []
        lines.append(f"  {len(names)} {word}{': ' if names else ''}{', '.join([*shown, *more])}")
    return "\n".join(lines) + "\n"
