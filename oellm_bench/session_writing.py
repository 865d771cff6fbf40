"""Write a planned session: a folder is a session only once all of it is there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import secrets
import shutil
import subprocess
import sys
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import oellm_bench
from oellm_bench.clock import Clock, utc_stamp, utc_text
from oellm_bench.config.schema import SlurmConfig
from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.plan import Plan, to_text
from oellm_bench.errors import ConfigError, Problem, UsageError
from oellm_bench.fileio import atomic_write_json, atomic_write_text, published_folder
from oellm_bench.placeholders import expand
from oellm_bench.planning import Campaign
from oellm_bench.rendering.directives import long_name, value_of
from oellm_bench.session import SCHEMA_VERSION, Session, read_session, remember, state_folder
from oellm_bench.shell import run

SMALL_JOB = {"time": "08:00:00", "mem": "2G", "ntasks": 1, "cpus-per-task": 1}


def new_session_dir(base_output_dir: Path, project: str, clock: Clock) -> tuple[Path, str]:
    """Return a folder that does not exist yet, and the 8 characters that make it unique."""
    session8 = secrets.token_hex(4)
    return base_output_dir / f"{project}_{utc_stamp(clock.now())}_{session8}", session8


def write_session(campaign: Campaign, session_dir: Path, session8: str, clock: Clock) -> Session:
    """Write a planned session.

    A new folder appears whole or not at all. Into one that holds things, the finished plan is moved piece by
    piece: cut short in there, it is no session until it is planned into again. Raises ConfigError where the
    folder cannot be written, UsageError where it holds a session that was submitted already.
    """
    project = campaign.project.project
    now = clock.now()
    session = Session(
        id=session_dir.name,
        session8=session8,
        project=project.name,
        fingerprint=campaign.plan.fingerprint,
        session_dir=str(session_dir),
        state_dir=str(state_folder(project.base_output_dir, project.state_dir)),
        created_at=now,
        created=utc_text(now),
        entries=len(campaign.plan.entries),
        scheduler=asdict(campaign.project.slurm.client),
        sinks={name: asdict(sink) for name, sink in campaign.project.sinks.items()},
        max_parallel=campaign.project.slurm.max_parallel,
        max_submit=campaign.project.slurm.max_submit,
        monitor_job=monitor_job(campaign.project.slurm),
        versions={"oellm_bench": oellm_bench.__version__, "python": platform.python_version()},
        git=_git(Path.cwd()),
        command_line=tuple(sys.argv),
        environment={
            "host": platform.node(),
            "user": os.environ.get("USER", ""),
            "platform": platform.platform(),
        },
        run_reason=project.run_reason,
        viewer_url=viewer_url(project.viewer_url, session_dir),
        metrics={pattern: asdict(rule) for pattern, rule in campaign.project.metrics.items()},
        report=project.report == "always" or (project.report == "auto" and bool(project.viewer_url)),
    )
    _refuse_submitted(session_dir)
    with _naming_the_setting(session_dir):
        _write_files(campaign, session, session_dir)
    if session_dir.parent == Path(project.base_output_dir).absolute():
        _lead_to_newest(session_dir)
    remember(session_dir)
    return session


def viewer_url(template: str, session_dir: Path) -> str:
    """Return where people find a session's report. Raises ConfigError for a placeholder it does not know."""
    values = {
        "results_path": str(session_dir.parent),
        "session_name": session_dir.name,
        "session_path": str(session_dir),
    }
    values.update({f"{name}_url": urllib.parse.quote(value, safe="/") for name, value in values.items()})
    try:
        return expand(template, values.get)
    except ValueError as err:
        fix = f"use {', '.join(f'{{{name}}}' for name in values)}"
        raise ConfigError(Problem(what=str(err), where="project.viewer_url", fix=fix)) from err


def monitor_job(slurm: SlurmConfig) -> dict[str, Any]:
    """Return the options of the monitor's own job: what is given for it, else who pays and where, else small."""
    inherited = {name: value_of(slurm.sbatch, name) for name in ("account", "partition", "qos", "reservation")}
    given = {long_name(name): value for name, value in slurm.monitor_job.items() if value not in (None, False, "")}
    return {**SMALL_JOB, **{name: value for name, value in inherited.items() if value}, **given}


def make_output_folder(folder: Path) -> None:
    """Make a folder below project.base_output_dir. Raises ConfigError where that cannot be done."""
    with _naming_the_setting(folder):
        folder.mkdir(parents=True, exist_ok=True)


@contextlib.contextmanager
def _naming_the_setting(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as err:
        where = "project.base_output_dir (or --output)"
        what = f"'{err.filename or folder}' cannot be written ({err.strerror})"
        raise ConfigError(Problem(what=what, where=where, fix="give a folder you may write to")) from err


def _refuse_submitted(session_dir: Path) -> None:
    if (session_dir / "session.json").is_file() and read_session(session_dir).store().begun:
        fix = "plan into another folder, or cancel it and start a new session"
        raise UsageError(f"'{session_dir}' holds a session that was submitted already; {fix}")


def _write_files(campaign: Campaign, session: Session, session_dir: Path) -> None:
    occupied = session_dir.is_dir() and any(session_dir.iterdir())
    if occupied:
        for stale in session_dir.glob(".planned*"):  # of a process that was killed
            shutil.rmtree(stale)
    target = session_dir / ".planned" if occupied else session_dir
    with published_folder(target) as staging:
        layout = SessionLayout(staging)
        for folder in (layout.scripts, layout.slurm_logs, staging / "entries"):
            folder.mkdir()
        if campaign.project.project.flat:
            _show_entries(campaign.plan, session_dir if occupied else staging)
        for name, text in campaign.scripts.items():
            with open(staging / name, "w", encoding="utf-8", opener=_executable) as stream:
                stream.write(text)
        atomic_write_text(layout.config, campaign.config_text)
        atomic_write_text(layout.sweep, to_text(campaign.plan))
        atomic_write_json(layout.session, {"schema_version": SCHEMA_VERSION, **asdict(session)})
    if occupied:
        _move_into(target, session_dir)


def _show_entries(plan: Plan, folder: Path) -> None:
    """Have each entry's name lead to its folder, also before that is there, and no other name to one."""
    names = {entry.name for entry in plan.entries}
    for path in folder.iterdir():
        if path.name not in names and path.is_symlink() and path.readlink() == Path("entries", path.name):
            path.unlink()  # of an earlier plan
    for entry in plan.entries:
        link = folder / entry.name
        if not link.is_symlink():
            link.symlink_to(Path("entries", entry.name))


def _lead_to_newest(session_dir: Path) -> None:
    """Have sweep.json beside the sessions lead to this one's; a file of that name is left alone.

    A convenience for people and for scripts of older tools: where links cannot be made there is none.
    """
    link = session_dir.parent / "sweep.json"
    part = link.with_name(f".sweep.{session_dir.name}")
    with contextlib.suppress(OSError):
        if link.is_symlink() or not link.exists():
            part.unlink(missing_ok=True)  # of one that was killed here
            part.symlink_to(Path(session_dir.name, "sweep.json"))
            part.replace(link)


def _executable(path: str, flags: int) -> int:
    return os.open(path, flags, 0o755)


def _move_into(source: Path, target: Path) -> None:
    """Move a finished plan into a folder that holds other things.

    session.json, which makes it a session, goes first and comes last: no mix of two plans is ever one.
    """
    (target / "session.json").unlink(missing_ok=True)
    for name in ("scripts", "slurm", "entries", "config.yaml", "sweep.json", "session.json"):
        old = target / name
        if old.is_dir():
            _replace_folder(source / name, old)
        else:
            (source / name).replace(old)
    source.rmdir()


def _replace_folder(source: Path, target: Path) -> None:
    kept = {path.name for path in source.iterdir()}
    for path in source.iterdir():
        path.replace(target / path.name)
    if target.name == "scripts":
        for path in target.iterdir():
            if path.name not in kept and path.suffix == ".sbatch":
                path.unlink()  # of an entry that the new plan no longer has
    source.rmdir()


def _git(folder: Path) -> dict[str, str]:
    """Return the commit of the folder's repository and a hash of what is uncommitted; empty outside of one."""
    try:
        commit = _git_output(folder, ["rev-parse", "HEAD"])
        changes = _git_output(folder, ["diff", "HEAD"])
    except (OSError, subprocess.SubprocessError):
        return {}
    if commit is None:
        return {}
    dirty = hashlib.sha256(changes.encode()).hexdigest()[:16] if changes else ""
    return {"commit": commit.strip(), "uncommitted_sha256": dirty}


def _git_output(folder: Path, arguments: Sequence[str]) -> str | None:
    done = run(["git", "-C", str(folder), *arguments], timeout_s=20)
    return done.stdout if done.returncode == 0 else None
