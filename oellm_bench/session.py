"""Sessions on disk: read, and found again by id, by folder or by what they run."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from oellm_bench.core.layout import SessionLayout, StateLayout
from oellm_bench.errors import StateError, UsageError, nearest
from oellm_bench.fileio import read_json
from oellm_bench.state.store import SessionStore

SCHEMA_VERSION = 1
_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Session:
    """What session.json holds. `session8` is the part of the id that stands in every job name.

    `monitor_job`: options of sbatch for the monitor as a job. `viewer_url`: where people find its report. `report`:
    whether it is written when the session ends. `metrics`: what is good for metrics, by pattern.

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
    max_parallel: int | None
    max_submit: int | None = None
    monitor_job: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, str]
    git: Mapping[str, str]
    command_line: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    run_reason: str = ""
    viewer_url: str = ""
    metrics: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    report: bool = False

    @functools.cached_property
    def layout(self) -> SessionLayout:
        """Where its files lie."""
        return SessionLayout(Path(self.session_dir))

    @property
    def state_layout(self) -> StateLayout:
        """Where the monitor keeps its state."""
        return StateLayout(Path(self.state_dir))

    @property
    def is_embedded(self) -> bool:
        """Whether it runs on the embedded scheduler."""
        return bool(self.scheduler["class_name"] == "FakeSlurmClient")

    @property
    def looked_up_since(self) -> float:
        """Since when its jobs can have been submitted, with room for clocks that disagree (epoch seconds)."""
        return self.created_at - 300

    def store(self) -> SessionStore:
        """Open its journal."""
        return SessionStore(self.id, self.layout, self.state_layout)


def state_folder(base_output_dir: str, state_dir: str) -> Path:
    """Return the absolute state folder of a project: `state_dir`, or its default below the output folder."""
    return Path(state_dir).absolute() if state_dir else Path(base_output_dir).absolute() / ".oellm-bench"


def read_session(session_dir: Path) -> Session:
    """Read session.json. Raises UsageError where the folder is no session."""
    path = SessionLayout(session_dir.absolute()).session
    if not path.is_file():
        fix = "give a session's id or folder; `oellm-bench sessions` lists them"
        raise UsageError(f"'{session_dir}' is not a session ({path.name} is not there); {fix}")
    document = read_json(path)
    version = document.pop("schema_version", None) if isinstance(document, dict) else None
    if version != SCHEMA_VERSION:
        raise StateError(f"{path} has schema_version {version}; this version reads {SCHEMA_VERSION}")
    known = {item.name for item in fields(Session)}  # another release may have written more
    values = {name: value for name, value in document.items() if name in known}
    try:
        return Session(**{**values, "command_line": tuple(document["command_line"])})
    except (TypeError, KeyError) as err:
        raise StateError(f"{path} is not a session ({err}); it was left as it is") from err


def find_session(reference: str | None) -> Session:
    """Return a session by id, by the end or a unique beginning of it, or by folder; the newest for None and `last`.

    Raises UsageError.
    """
    known = {path.name: path for path in known_sessions()}
    if reference in (None, "last"):
        if not known:
            raise UsageError("no session is known yet; `oellm-bench submit` makes one")
        newest = next(sessions_in(known.values()), None)
        if newest is not None:
            return newest
        raise UsageError("none of the known sessions can be read")
    assert reference is not None
    found = _named(reference)
    if found is None:
        raise UsageError(f"no session '{reference}'; {nearest(reference, [*known])}; `oellm-bench sessions` lists them")
    return found


def _named(reference: str) -> Session | None:
    """Return the session of that name or in that folder, None where there is none."""
    if Path(reference).is_dir():
        return read_session(Path(reference))
    known = {path.name: path for path in known_sessions()}
    matches = [path for name, path in known.items() if reference in (name, name.rsplit("_", 1)[-1])]
    matches = matches or [path for name, path in known.items() if name.startswith(reference)]
    if len(matches) > 1:
        names = ", ".join(path.name for path in matches[:5])
        raise UsageError(f"'{reference}' fits {len(matches)} sessions ({names}, ...); give more of the name, or `last`")
    return read_session(matches[0]) if matches else None


def sessions_in(folders: Iterable[Path]) -> Iterator[Session]:
    """Yield the sessions in these folders; one that cannot be read is reported and left out, it is not the only one."""
    for folder in folders:
        try:
            yield read_session(folder)
        except (StateError, UsageError) as err:
            _warn_once(str(err))


@functools.cache
def _warn_once(message: str) -> None:
    _log.warning("%s", message)


def find_open(base_output_dir: Path, project: str, fingerprint: str, scheduler: str) -> Session | None:
    """Return the newest unfinished session that runs just this plan on that scheduler (by class_name).

    A session that was only planned fits any scheduler.
    """
    for session in _candidates(base_output_dir, project):
        if session.fingerprint == fingerprint:
            store = session.store()
            if not store.begun and was_submitted(session.layout):
                raise StateError(
                    f"session {session.id} was submitted, and its journal in {session.state_dir} is gone or empty; "
                    "nothing is sent: bring the journal back, or cancel its jobs and move its folder away"
                )
            if not store.begun or (session.scheduler["class_name"] == scheduler and not store.state.finished):
                return session
    return None


def find_finished(
    base_output_dir: Path, project: str, fingerprint: str, scheduler: str, request: str = ""
) -> Session | None:
    """Return the newest finished session that ran just this plan on that scheduler, and was made for that request."""
    same = (s for s in _candidates(base_output_dir, project) if s.fingerprint == fingerprint)
    here = (session for session in same if session.scheduler["class_name"] == scheduler)
    here = (session for session in here if not request or request in session.command_line)
    return next((session for session in here if session.store().state.finished), None)


def find_overlapping(
    base_output_dir: Path, project: str, scheduler: str, entries: Collection[str]
) -> tuple[Session, int] | None:
    """Return an unfinished session that runs some of these entries (by id) already, and how many."""
    for session in _candidates(base_output_dir, project):
        if session.scheduler["class_name"] == scheduler:
            state = session.store().state
            shared = sum(entry in state.entries for entry in entries)
            if shared and not state.finished:
                return session, shared
    return None


def was_submitted(layout: SessionLayout) -> bool:
    """Tell whether a session's folder shows traces of jobs; a script that was run by hand is none."""
    if layout.slurm_logs.is_dir() and any(layout.slurm_logs.iterdir()):
        return True
    for attempt in layout.root.glob("entries/*/attempts/*"):
        by_hand = (attempt / "stdout.log").exists() and not any(attempt.glob("slurm-*.out"))
        if not by_hand:
            return True
    return False


def latest(base_output_dir: Path, project: str, *, embedded: bool = False) -> Session | None:
    """Return the newest session of a project that is unfinished, else the newest submitted one, else None.

    `embedded`: only of those on the embedded scheduler.
    """
    known = (s for s in _candidates(base_output_dir, project) if s.is_embedded or not embedded)
    submitted = [session for session in known if session.store().begun]
    unfinished = (session for session in submitted if not session.store().state.finished)
    return next(unfinished, submitted[0] if submitted else None)


def _candidates(base_output_dir: Path, project: str) -> Iterator[Session]:
    """Yield the sessions of a project in its output folder, and those planned elsewhere for it, newest first."""
    below = [path.parent for path in base_output_dir.glob("*/session.json")]
    below.sort(key=lambda folder: (folder / "session.json").stat().st_mtime, reverse=True)
    elsewhere = [folder for folder in known_sessions() if folder not in below]
    for session in sessions_in([*below, *elsewhere]):
        belongs = base_output_dir in (Path(session.state_dir).parent, Path(session.session_dir).parent)
        if session.project == project and belongs:
            yield session


def campaign_of(reference: str | None) -> Session:
    """Return the newest session of the project of that name, else what `find_session` finds.

    Raises UsageError, also where projects of that name have several state folders.
    """
    if reference in (None, "last"):
        return find_session(reference)
    assert reference is not None
    known = list(sessions_in(known_sessions()))
    campaigns: dict[str, Session] = {}
    for session in known:
        if session.project == reference:
            campaigns.setdefault(session.state_dir, session)
    if len(campaigns) > 1:
        newest = ", ".join(session.session_dir for session in campaigns.values())
        what = f"{len(campaigns)} campaigns are called '{reference}', each with its own state folder"
        raise UsageError(f"{what}; give a session of the one that is meant, the newest of each: {newest}")
    found = next(iter(campaigns.values()), None) or _named(reference)
    if found is None:
        names = [*dict.fromkeys(session.project for session in known), *(session.id for session in known)]
        fix = "`oellm-bench sessions` lists them"
        raise UsageError(f"no project or session '{reference}'; {nearest(reference, names)}; {fix}")
    return found


def campaign_sessions(session: Session) -> list[Session]:
    """Return the sessions of the same project and state folder, oldest first, this one among them."""
    bases = dict.fromkeys((Path(session.state_dir).parent, Path(session.session_dir).parent))
    below = [path.parent for base in bases for path in base.glob("*/session.json")]
    folders = dict.fromkeys([*below, *known_sessions(), Path(session.session_dir)])
    found = {other.session_dir: other for other in sessions_in(folders)}
    same = [s for s in found.values() if (s.project, s.state_dir) == (session.project, session.state_dir)]
    return sorted(same, key=lambda other: (other.created_at, other.id))


def remember(session_dir: Path) -> None:
    """Note the folder in the user's list of sessions, so that other verbs find it by id."""
    path = sessions_file()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as stream:
            stream.write(f"{session_dir}\n")
    except OSError:
        return  # a convenience: the folder itself is still a way to name the session


def known_sessions() -> list[Path]:
    """Return the folders of the user's sessions that still exist, newest first."""
    try:
        lines = sessions_file().read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    unique = dict.fromkeys(reversed(lines))
    return [Path(line) for line in unique if (Path(line) / "session.json").is_file()]


def sessions_file() -> Path:
    """Return the file with the folders of the user's sessions, one a line."""
    # XDG Base Directory Specification: state that should persist but is not worth a backup.
    home = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(home) / "oellm-bench" / "sessions.txt"
