"""The state of one session on disk: a journal that is the truth, and a snapshot of it for people and tools."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from oellm_bench.core.events import Delivered, Event, Retried, Selected, SinkFailed
from oellm_bench.core.layout import SessionLayout, StateLayout
from oellm_bench.errors import StateError
from oellm_bench.fileio import atomic_write_json, file_lock, quarantine, remove_parts
from oellm_bench.state.fold import apply
from oellm_bench.state.journal import Journal
from oellm_bench.state.model import SessionState

SCHEMA_VERSION = 1


class SessionStore:
    """Events in, state out. `state` is current after `refresh()`, and inside `locked()`."""

    def __init__(self, session: str, layout: SessionLayout, state_layout: StateLayout) -> None:
        self._session = session
        self._layout = layout
        self._state_layout = state_layout
        # Called before each append by whoever acts under a lease: raises where that was lost meanwhile.
        self.guard: Callable[[], None] = _nothing
        self._open()

    @property
    def begun(self) -> bool:
        """Whether anything of this session was ever submitted."""
        return bool(self.state.entries)

    def refresh(self) -> None:
        """Take in what other processes have appended. Raises StateError where the journal is not to be trusted."""
        for event in self._journal.read_new():
            self._apply(event)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from appending and archiving; the state is current inside the block."""
        with file_lock(self._state_layout.journal_lock(self._session)):
            if self._archived != self._layout.journal.exists():
                self._open()  # archived or reopened by another process since this one looked
            self.refresh()
            yield

    def append(self, *events: Event) -> None:
        """Make events durable, then take them into the state. Call inside `locked()`.

        Raises StateError where they could not be made durable: then they have not happened.
        """
        if not events:
            return
        if self._archived:
            raise StateError(f"session {self._session} is finished; its journal takes no more events")
        self.guard()
        self._journal.append(events)
        for event in events:
            self._apply(event)

    def append_late(self, *events: Delivered | SinkFailed) -> None:
        """Make durable what became of a delivery, also to the journal of a finished session. Call inside `locked()`."""
        if self._archived and events:
            self._journal.append(events)
            for event in events:
                self._apply(event)
        else:
            self.append(*events)

    def go_on(self, *events: Selected | Retried) -> None:
        """Append what is to be done, also to the journal of a finished session. Call inside `locked()`.

        Then the whole journal with these events is in the state folder before the archive goes. Which of the two
        counts hangs on the archive alone: a crash leaves the finished session or the reopened one.
        """
        if not (self._archived and events):
            self.append(*events)
            return
        self.guard()
        live = self._state_layout.journal(self._session)
        part = live.with_suffix(".part")
        part.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(self._layout.journal, part)
        journal = Journal(part)
        for _ in journal.read_new():
            pass  # so that it appends after the last whole line
        journal.append(events)
        part.replace(live)  # a journal that lies there was left by a reopening that got no further
        _sync(live.parent)
        self._layout.journal.unlink()
        _sync(self._layout.root)
        self._open()

    def _open(self) -> None:
        while True:
            self._archived = self._layout.journal.exists()
            live = self._state_layout.journal(self._session)
            self._journal = Journal(self._layout.journal if self._archived else live)
            self.state = SessionState()
            self.refresh()
            if self._archived == self._layout.journal.exists():
                return  # else it was moved while it was read, and what was read may be nothing

    def _apply(self, event: Event) -> None:
        try:
            apply(event, self.state)
        except KeyError as err:
            what = f"{type(event).__name__} speaks of {err}, of which nothing was said before"
            raise StateError(f"{self._journal.path}: {what}; part of the journal is missing, nothing was done") from err

    def write_snapshot(self, view: dict[str, Any]) -> None:
        """Put this session's view into monitor/state.json, beside those of other unfinished sessions."""
        with file_lock(self._state_layout.snapshot_lock):
            sessions = self._other_sessions()
            sessions[self._session] = view
            self._write_sessions(sessions)

    def archive(self) -> None:
        """Move the journal of a finished session into its folder and take the session out of state.json.

        The last session out removes the file. Safe to call again after a crash in the middle; an archive that
        is there already is complete, and is never written over. Does nothing where the session was reopened meanwhile.
        """
        source = self._state_layout.journal(self._session)
        with self.locked():
            if not self.state.finished:
                return
            if not self._layout.journal.exists():
                part = self._layout.journal.with_suffix(".part")
                shutil.copyfile(source, part)  # the state folder may lie on another file system
                _sync(part)
                part.replace(self._layout.journal)
            self._archived = True
            with file_lock(self._state_layout.snapshot_lock):
                remove_parts(self._state_layout.snapshot)
                sessions = self._other_sessions()
                sessions.pop(self._session, None)
                self._write_sessions(sessions)
            shutil.rmtree(source.parent, ignore_errors=True)

    def _other_sessions(self) -> dict[str, Any]:
        path = self._state_layout.snapshot
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            return dict(document["sessions"])
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError):
            quarantine(path)  # only a view: the journals hold the truth
            return {}

    def _write_sessions(self, sessions: dict[str, Any]) -> None:
        path = self._state_layout.snapshot
        if sessions:
            atomic_write_json(path, {"schema_version": SCHEMA_VERSION, "sessions": sessions}, compact=True)
        else:
            path.unlink(missing_ok=True)


def _nothing() -> None:
    """Guard nothing: what a process that holds no lease may append is checked under the lock alone."""


def _sync(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
