"""`simulate`: a campaign on a simulated cluster, to compare policies before real hours are spent."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import oellm_bench
from oellm_bench.cli.configuration import compose
from oellm_bench.cli.table import console, print_json, table
from oellm_bench.core.plan import Plan, to_text
from oellm_bench.errors import EXIT_DONE, BenchError, UsageError
from oellm_bench.fileio import atomic_write_json, atomic_write_text
from oellm_bench.log import set_up
from oellm_bench.planning import plan_campaign
from oellm_bench.session import SCHEMA_VERSION as SESSION_VERSION
from oellm_bench.simulation.campaign import repeated
from oellm_bench.simulation.figures import Figures, figures
from oellm_bench.simulation.run import begin, sensible_interval_s
from oellm_bench.simulation.settings import SimulationConfig
from oellm_bench.units import format_duration

SCHEMA_VERSION = 1
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder in it has a name of its own; nothing has to outlive the machine
_PER_JOB_BYTES = 40_000  # what an entry leaves with some restarts: small files, each of which takes a page


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One of the configurations that are compared."""

    name: str
    plan: Plan
    config: SimulationConfig


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What became of a variant, and how long that took here."""

    variant: Variant
    figures: Figures
    looks: int
    wall_s: float


def run(args: argparse.Namespace) -> int:
    """Simulate each variant and print the figures side by side."""
    set_up(verbose=args.verbose)
    variants = [_variant(args, text) for text in args.compare or [""]]
    pauses = [sensible_interval_s(variant.plan, variant.config, args.seed) for variant in variants]
    interval_s = args.interval or max(pauses)
    with _folder(args.keep, len(variants[0].plan.entries)) as folder, _few_words(verbose=args.verbose):
        done = [
            _simulate(variant, folder / str(number), interval_s, args)
            for number, variant in enumerate(variants, start=1)
        ]
    if args.json:
        print_json(_document(args, interval_s, done))
    else:
        _print(done)
    return EXIT_DONE


def _variant(args: argparse.Namespace, text: str) -> Variant:
    """Plan the campaign as one value of --compare changes it; `;` stands between several overrides."""
    overrides = [part.strip() for part in text.split(";") if part.strip()]
    changed = argparse.Namespace(**{**vars(args), "override": [*args.override, *overrides]})
    try:
        campaign = plan_campaign(compose(changed), Path.cwd() / "simulated")
    except BenchError as err:
        if not text:
            raise
        raise UsageError(f"--compare '{text}': {err}") from err
    plan = repeated(campaign.plan, args.jobs or len(campaign.plan.entries))
    return Variant(name=text or "as configured", plan=plan, config=campaign.project.simulation)


@contextlib.contextmanager
def _few_words(*, verbose: bool) -> Iterator[None]:
    """Keep the monitor from telling of each failure: they are meant, and there are thousands."""
    log = logging.getLogger(oellm_bench.__name__)
    before = log.level
    log.setLevel(before if verbose else logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(before)


@contextlib.contextmanager
def _folder(keep: Path | None, jobs: int) -> Iterator[Path]:
    """Yield a folder for the sessions: a named one that stays, or one in memory, where that is, that goes."""
    if keep is not None:
        if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
            raise UsageError(f"--keep '{keep}' is not an empty folder; give a new one")
        yield keep.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="oellm-bench-", dir=_in_memory(jobs)) as name:
        yield Path(name)


def _in_memory(jobs: int) -> Path | None:
    """Return where files cost no disk, None where there is no such place with room enough."""
    usable = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK)
    return _MEMORY if usable and shutil.disk_usage(_MEMORY).free > 2 * jobs * _PER_JOB_BYTES else None


def _simulate(variant: Variant, folder: Path, interval_s: float, args: argparse.Namespace) -> Ran:
    begun_s = time.monotonic()
    simulation = begin(variant.plan, variant.config, folder, seed=args.seed)
    if args.keep is not None:
        layout = simulation.session.layout
        atomic_write_text(layout.sweep, to_text(variant.plan))
        atomic_write_json(layout.session, {"schema_version": SESSION_VERSION, **asdict(simulation.session)})
    monitor = simulation.run(interval_s)
    lasted_s = simulation.clock.now() - simulation.began_at
    cluster = simulation.cluster
    found = figures(cluster.runs, monitor.store.state, lasted_s=lasted_s, calls=cluster.calls)
    wall_s = time.monotonic() - begun_s
    if args.keep is None:
        shutil.rmtree(folder)
    _say(
        f"{variant.name}: {len(variant.plan.entries):,} jobs, {format_duration(lasted_s)} in {format_duration(wall_s)}"
    )
    _say(f"; {simulation.looks:,} looks, {interval_s:g} s apart or more\n")
    return Ran(variant=variant, figures=found, looks=simulation.looks, wall_s=wall_s)


def _document(args: argparse.Namespace, interval_s: float, done: Sequence[Ran]) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "seed": args.seed,
        "interval_s": interval_s,
        "variants": [
            {"name": ran.variant.name, **ran.figures.to_document(), "looks": ran.looks, "wall_s": round(ran.wall_s, 3)}
            for ran in done
        ],
    }


def _print(done: Sequence[Ran]) -> None:
    out = console()
    rows = [
        [
            ran.variant.name,
            ran.figures.passed,
            sum(ran.figures.failed.values()),
            format_duration(ran.figures.finished_after_s),
            "-" if ran.figures.goodput is None else f"{ran.figures.goodput:.1%}",
            _hours(ran.figures.gpu_hours),
            _hours(sum(ran.figures.wasted_gpu_hours.values())),
            ran.figures.attempts,
            sum(ran.figures.restarts.values()),
            round(ran.figures.calls_per_hour, 1),
        ]
        for ran in done
    ]
    columns = ["variant", "passed", "failed", "finished", "goodput", "GPU-hours", "wasted", "attempts", "restarts"]
    out.print(table([*columns, "calls/h"], rows))
    wasted = [(ran.variant.name, ran.figures.wasted_gpu_hours) for ran in done]
    _print_kinds(
        "GPU-hours lost to", [(name, {kind: _hours(hours) for kind, hours in lost.items()}) for name, lost in wasted]
    )
    _print_kinds("restarts after", [(ran.variant.name, ran.figures.restarts) for ran in done])
    _print_kinds("failed for good", [(ran.variant.name, ran.figures.failed) for ran in done])


def _print_kinds(title: str, found: Sequence[tuple[str, Mapping[str, float]]]) -> None:
    """Print one row per variant and one column per kind, those with the largest figures first."""
    kinds = {kind: max(counts.get(kind, 0) for _, counts in found) for _, counts in found for kind in counts}
    if kinds:
        ordered = sorted(kinds, key=lambda kind: (-kinds[kind], kind))
        rows = [[name, *(counts.get(kind, 0) for kind in ordered)] for name, counts in found]
        sys.stdout.write("\n")
        console().print(table([title, *ordered], rows))


def _hours(hours: float) -> float:
    return round(hours) if hours >= 100 else round(hours, 1)


def _say(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
