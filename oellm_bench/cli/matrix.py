"""`matrix`: benchmark matrices of the Curator formats, run as campaigns."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import yaml

from oellm_bench import shell
from oellm_bench.checking import missing_inputs, sink_problems
from oellm_bench.cli.configuration import Finder, Prepared, compose, open_session, prepared
from oellm_bench.cli.run import run_attached
from oellm_bench.cli.table import console, print_json, table
from oellm_bench.clock import SystemClock, utc_stamp
from oellm_bench.config.overlays import overlaid_points
from oellm_bench.config.project import ConfiguredPoint
from oellm_bench.config.variant import Composition
from oellm_bench.core.plan import Plan, entry_document
from oellm_bench.errors import EXIT_DONE, EXIT_INTERRUPTED, ConfigError, Problem, UsageError
from oellm_bench.launchers.host import HostLauncher
from oellm_bench.log import set_up
from oellm_bench.matrix.arguments import RESULTS_FLAG
from oellm_bench.matrix.expression import matching
from oellm_bench.matrix.reading import NO_SINK, read_configs, read_older
from oellm_bench.matrix.source import Source
from oellm_bench.matrix.translate import overlays
from oellm_bench.naming import check_name
from oellm_bench.planning import Campaign, plan_points
from oellm_bench.session import Session, read_session
from oellm_bench.session_writing import new_session_dir
from oellm_bench.units import format_duration

SCHEMA_VERSION = 1
_HERE = "slurm=here"
_log = logging.getLogger(__name__)


def run(args: argparse.Namespace) -> int:
    """Do one step of the three."""
    set_up(verbose=args.verbose)
    points, text = _points(args)
    ready = _prepared(args, points, text)
    if args.step == "run":
        return _run(args, points, ready)
    plan = ready.campaign.plan
    if args.step == "check":
        problems = [*missing_inputs(ready.campaign.inputs, ready.campaign.images), *_unusable_sinks(points)]
        if problems:
            raise ConfigError(problems)
    if args.json:
        entries = [entry_document(entry) for entry in plan.entries]
        print_json({"schema_version": SCHEMA_VERSION, "session_dir": str(ready.session_dir), "entries": entries})
    elif args.step == "list":
        _print_entries(plan)
    else:
        sys.stderr.write(f"{_counted(plan)}, nothing is amiss; `oellm-bench matrix run` runs them\n")
    return EXIT_DONE


def _run(args: argparse.Namespace, points: Sequence[ConfiguredPoint], ready: Prepared) -> int:
    if ready.session is None and (problems := _unusable_sinks(points)):
        raise ConfigError(problems)
    try:
        return run_attached(args, ready)
    except KeyboardInterrupt:
        sys.stderr.write(
            f"oellm-bench: interrupted; the same command goes on with session {ready.session_dir.name}, "
            f"`oellm-bench cancel {ready.session_dir.name}` ends it\n"
        )
        return EXIT_INTERRUPTED


def _points(args: argparse.Namespace) -> tuple[list[ConfiguredPoint], str]:
    """Read the matrix; return the entries that are wanted, and the matrix as it was read."""
    composition = _composition(args)
    config = composition.variants[0].config
    source = _source(args, contained=config.container.class_name != HostLauncher.__name__)
    points = overlaid_points(composition, overlays(source, list(config.container.get("binds") or [])))
    if args.entries:
        wanted = set(matching(args.entries, [point.name for point in points]))
        points = [point for point in points if point.name in wanted]
    return points, _config_text(source)


def _prepared(args: argparse.Namespace, points: Sequence[ConfiguredPoint], text: str) -> Prepared:
    """Plan for the session of that name, the unfinished one of this plan, or a new one."""

    def plan(folder: Path, previous: Mapping[str, int] | None) -> Campaign:
        return plan_points(points, text, folder, previous)

    base = Path(points[0].project.project.base_output_dir).absolute()
    name = args.session_name or f"benchmark-run__{utc_stamp(SystemClock().now())}"
    problems = check_name(name, "--session-name")
    if problems:
        raise ConfigError(problems)
    _, session8 = new_session_dir(base, name, SystemClock())
    find = _in_folder(base / name) if args.session_name else open_session
    return prepared(plan, find, base / name, session8, lambda: _prepared(args, *_points(args)))


def _unusable_sinks(points: Sequence[ConfiguredPoint]) -> list[Problem]:
    """Return what keeps the sinks from working here, each with its line."""
    place = points[0].variant.provenance.where
    return [replace(problem, where=place(problem.where)) for problem in sink_problems(points[0].project.sinks)]


def _in_folder(folder: Path) -> Finder:
    """Return a finder that knows just the session in a folder. It raises UsageError for one of another plan."""

    def find(campaign: Campaign) -> Session | None:
        if not (folder / "session.json").is_file():
            return None
        session = read_session(folder)
        same = session.fingerprint == campaign.plan.fingerprint
        same = same and session.scheduler["class_name"] == campaign.project.slurm.client.class_name
        if session.store().begun and not same:
            fix = "choose another --session-name, or leave it out"
            raise UsageError(f"session '{folder.name}' ran another matrix, or these entries otherwise; {fix}")
        return session

    return find


def _composition(args: argparse.Namespace) -> Composition:
    """Compose the base that the matrix is laid over: here, unless the command line chooses a cluster."""
    chosen = any(text.lstrip("+").startswith(("slurm=", "slurm.client")) for text in args.override)
    defaults = ["backend=script", *([] if chosen else [_HERE])]
    return compose(argparse.Namespace(**{**vars(args), "override": [*defaults, *args.override]}))


def _source(args: argparse.Namespace, *, contained: bool) -> Source:
    if bool(args.files) == bool(args.matrix):
        raise UsageError(
            "give the files of one matrix: --config FILE (may be repeated), or --matrix FILE --datasets FILE"
        )
    # Who chooses the group of sinks on the command line has chosen.
    grouped = any(text.lstrip("+").startswith("sinks=") for text in args.override)
    sink = NO_SINK if grouped else args.sink
    if args.matrix is None:
        if args.datasets is not None:
            raise UsageError("--datasets belongs to --matrix; with --config they stand in the file")
        return read_configs(args.files, sink, os.environ, _log.warning, contained=contained)
    return read_older(args.matrix, args.datasets, sink, os.environ, _log.warning, contained=contained)


def _print_entries(plan: Plan) -> None:
    rows = [
        (
            entry.name,
            format_duration(entry.timeout_s),
            "yes" if entry.ray.enabled else "no",
            len(entry.requirements),
            shell.command_line(_without_results(entry.argv[1:])),
        )
        for entry in plan.entries
    ]
    console().print(table(("entry", "timeout", "Ray", "requirements", "command"), rows))


def _without_results(argv: Sequence[str]) -> Sequence[str]:
    """Return a command without the folder of its results, which every entry has."""
    return argv[:-2] if argv[-2:-1] == (RESULTS_FLAG,) else argv


def _counted(plan: Plan) -> str:
    return "1 entry" if len(plan.entries) == 1 else f"{len(plan.entries)} entries"


def _config_text(source: Source) -> str:
    """Return the merged matrix as it was read, secrets as the names of their variables."""
    return yaml.safe_dump(source.document.plain(), sort_keys=False, allow_unicode=True)
