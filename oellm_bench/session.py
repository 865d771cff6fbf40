"""Sessions on disk: written whole or not at all, found again by id, by folder or by what they run."""

from __future__ import annotations

import hashlib
import os
import platform
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import oellm_bench
from oellm_bench.clock import Clock, utc_stamp, utc_text
from oellm_bench.core.layout import SessionLayout, StateLayout
from oellm_bench.core.plan import to_text
from oellm_bench.errors import ConfigError, Problem, StateError, UsageError, nearest
from oellm_bench.fileio import atomic_write_json, atomic_write_text, published_folder, read_json
from oellm_bench.planning import Campaign
from oellm_bench.shell import run
from oellm_bench.state.store import SessionStore

SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Session:
    """What session.json holds. `session8` is the part of the id that stands in every job name.

    `scheduler` and `sinks` are the typed configurations as plain values; secrets are in them by name only.
    """

    id: str
    session8: str
    project: str
    fingerprint: str
    session_dir: str
    state_dir: str
    created_at: float
    created: str
    entries: int
    scheduler: Mapping[str, Any]
    sinks: Mapping[str, Any]
    confirm_gpu_hours: float
    max_parallel: int | None
    versions: Mapping[str, str]
    git: Mapping[str, str]
    command_line: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def layout(self) -> SessionLayout:
        """Where its files lie."""
        return SessionLayout(Path(self.session_dir))

    @property
    def state_layout(self) -> StateLayout:
        """Where the monitor keeps its state."""
        return StateLayout(Path(self.state_dir))

    @property
    def looked_up_since(self) -> float:
        """Since when its jobs can have been submitted, with room for clocks that disagree (epoch seconds)."""
        return self.created_at - 300

    def store(self) -> SessionStore:
        """Open its journal."""
        return SessionStore(self.id, self.layout, self.state_layout)


def new_session_dir(base_output_dir: Path, project: str, clock: Clock) -> tuple[Path, str]:
    """Return a folder that does not exist yet, and the 8 characters that make it unique."""
    session8 = secrets.token_hex(4)
    return base_output_dir / f"{project}_{utc_stamp(clock.now())}_{session8}", session8


def write_session(campaign: Campaign, session_dir: Path, session8: str, clock: Clock) -> Session:
    """Write a planned session: everything, or nothing.

    Raises ConfigError where the folder cannot be written, UsageError where it holds a session that was
    submitted already.
    """
    project = campaign.project.project
    base = Path(project.base_output_dir).absolute()
    now = clock.now()
    session = Session(
        id=session_dir.name,
        session8=session8,
        project=project.name,
        fingerprint=campaign.plan.fingerprint,
        session_dir=str(session_dir),
        state_dir=str(Path(project.state_dir).absolute() if project.state_dir else base / ".oellm-bench"),
        created_at=now,
        created=utc_text(now),
        entries=len(campaign.plan.entries),
        scheduler=asdict(campaign.project.slurm.client),
        sinks={name: asdict(sink) for name, sink in campaign.project.sinks.items()},
        confirm_gpu_hours=project.confirm_gpu_hours,
        max_parallel=campaign.project.slurm.max_parallel,
        versions={"oellm_bench": oellm_bench.__version__, "python": platform.python_version()},
        git=_git(Path.cwd()),
        command_line=tuple(sys.argv),
        environment={
            "host": platform.node(),
            "user": os.environ.get("USER", ""),
            "platform": platform.platform(),
        },
    )
    _refuse_submitted(session_dir)
    try:
        _write_files(campaign, session, session_dir)
    except OSError as err:
        where = "project.base_output_dir (or --output)"
        what = f"'{err.filename or session_dir}' cannot be written ({err.strerror})"
        raise ConfigError(Problem(what=what, where=where, fix="give a folder you may write to")) from err
    remember(session_dir)
    return session


def read_session(session_dir: Path) -> Session:
    """Read session.json. Raises UsageError where the folder is no session."""
    path = SessionLayout(session_dir.absolute()).session
    if not path.is_file():
        fix = "give a session's id or folder; `oellm-bench sessions` lists them"
        raise UsageError(f"'{session_dir}' is not a session ({path.name} is not there); {fix}")
    document = read_json(path)
    version = document.pop("schema_version", None)
    if version != SCHEMA_VERSION:
        raise StateError(f"{path} has schema_version {version}; this version reads {SCHEMA_VERSION}")
    document["command_line"] = tuple(document["command_line"])
    return Session(**document)


def find_session(reference: str | None) -> Session:
    """Return the session of that id or folder, the newest known one for None. Raises UsageError."""
    known = {path.name: path for path in known_sessions()}
    if reference is None:
        if not known:
            raise UsageError("no session is known yet; `oellm-bench submit` makes one")
        return read_session(next(iter(known.values())))
    if Path(reference).is_dir():
        return read_session(Path(reference))
    matches = [path for name, path in known.items() if name == reference or name.endswith(f"_{reference}")]
    if not matches:
        raise UsageError(f"no session '{reference}'; {nearest(reference, [*known][:5])}")
    return read_session(matches[0])


def sessions_below(base_output_dir: Path) -> Iterator[Session]:
    """Yield the sessions in an output folder, newest first."""
    found = [path.parent for path in base_output_dir.glob("*/session.json")]
    for path in sorted(found, key=lambda folder: (folder / "session.json").stat().st_mtime, reverse=True):
        yield read_session(path)


def find_open(base_output_dir: Path, project: str, fingerprint: str, scheduler: str) -> Session | None:
    """Return the newest unfinished session that runs just this plan on that scheduler (by class_name).

    A session that was only planned fits any scheduler.
    """
    for session in _candidates(base_output_dir, project):
        if session.fingerprint == fingerprint:
            store = session.store()
            if not store.begun or (session.scheduler["class_name"] == scheduler and not store.state.finished):
                return session
    return None


def latest(base_output_dir: Path, project: str) -> Session | None:
    """Return the newest session of a project that is unfinished, else the newest submitted one, else None."""
    submitted = [session for session in _candidates(base_output_dir, project) if session.store().begun]
    unfinished = (session for session in submitted if not session.store().state.finished)
    return next(unfinished, submitted[0] if submitted else None)


def _candidates(base_output_dir: Path, project: str) -> Iterator[Session]:
    """Yield the sessions of a project in its output folder and wherever else this user keeps some."""
    seen = set()
    for session in (*sessions_below(base_output_dir), *(read_session(path) for path in known_sessions())):
        if session.project == project and session.session_dir not in seen:
            seen.add(session.session_dir)
            if Path(session.state_dir).parent == base_output_dir or Path(session.session_dir).parent == base_output_dir:
                yield session


def remember(session_dir: Path) -> None:
    """Note the folder in the user's list of sessions, so that other verbs find it by id."""
    path = _index()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(f"{session_dir}\n")
    except OSError:
        return  # a convenience: the folder itself is still a way to name the session


def known_sessions() -> list[Path]:
    """Return the folders of the user's sessions that still exist, newest first."""
    try:
        lines = _index().read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    unique = dict.fromkeys(reversed(lines))
    return [Path(line) for line in unique if (Path(line) / "session.json").is_file()]


def _index() -> Path:
    # XDG Base Directory Specification: state that should persist but is not worth a backup.
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "oellm-bench" / "sessions.txt"


def _refuse_submitted(session_dir: Path) -> None:
    if (session_dir / "session.json").is_file() and read_session(session_dir).store().begun:
        fix = "plan into another folder, or cancel it and start a new session"
        raise UsageError(f"'{session_dir}' holds a session that was submitted already; {fix}")


def _write_files(campaign: Campaign, session: Session, session_dir: Path) -> None:
    occupied = session_dir.is_dir() and any(session_dir.iterdir())
    target = session_dir / ".planned" if occupied else session_dir
    with published_folder(target) as staging:
        layout = SessionLayout(staging)
        for folder in (layout.scripts, layout.slurm_logs, staging / "entries"):
            folder.mkdir()
        for name, text in campaign.scripts.items():
            with open(staging / name, "w", encoding="utf-8", opener=_executable) as stream:
                stream.write(text)
        atomic_write_text(layout.config, campaign.config_text)
        atomic_write_text(layout.sweep, to_text(campaign.plan))
        atomic_write_json(layout.session, {"schema_version": SCHEMA_VERSION, **asdict(session)})
    if occupied:
        _move_into(target, session_dir)


def _executable(path: str, flags: int) -> int:
    return os.open(path, flags, 0o755)


def _move_into(source: Path, target: Path) -> None:
    """Move a finished plan into a folder that holds other things; session.json, which makes it one, comes last."""
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
