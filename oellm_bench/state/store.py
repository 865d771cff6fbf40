"""The state of one session on disk: a journal that is the truth, and a snapshot of it for people and tools."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from typing import Any

from oellm_bench.core.events import Delivered, Event, SinkFailed
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
            if not self._archived and self._layout.journal.exists():
                self._open()  # archived by another process since this one looked
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

    def _open(self) -> None:
        self._archived = self._layout.journal.exists()
        self._journal = Journal(self._layout.journal if self._archived else self._state_layout.journal(self._session))
        self.state = SessionState()
        self.refresh()

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
        is there already is complete, and is never written over.
        """
        source = self._state_layout.journal(self._session)
        with self.locked():
            if not self._layout.journal.exists():
                part = self._layout.journal.with_suffix(".part")
                shutil.copyfile(source, part)  # the state folder may lie on another file system
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
