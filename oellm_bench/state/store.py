"""The state of one session on disk: a journal that is the truth, and a snapshot of it for people and tools."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterator
from typing import Any

from oellm_bench.core.events import Event
from oellm_bench.core.layout import SessionLayout, StateLayout
from oellm_bench.errors import StateError
from oellm_bench.fileio import atomic_write_json, file_lock, quarantine
from oellm_bench.state.fold import SessionState, apply
from oellm_bench.state.journal import Journal

SCHEMA_VERSION = 1


class SessionStore:
    """Events in, state out. `state` is current after `refresh()`, and inside `locked()`."""

    def __init__(self, session: str, layout: SessionLayout, state_layout: StateLayout) -> None:
        self._session = session
        self._layout = layout
        self._state_layout = state_layout
        self._archived = layout.journal.exists()
        self._journal = Journal(layout.journal if self._archived else state_layout.journal(session))
        self.state = SessionState()
        self.refresh()

    @property
    def begun(self) -> bool:
        """Whether anything of this session was ever submitted."""
        return self._journal.exists

    def refresh(self) -> None:
        """Take in what other processes have appended."""
        for event in self._journal.read_new():
            apply(event, self.state)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes from appending; the state is current inside the block."""
        with self._journal.locked():
            self.refresh()
            yield

    def append(self, *events: Event) -> None:
        """Make events durable, then take them into the state. Call inside `locked()`.

        Raises StateError where they could not be made durable: then they have not happened.
        """
        if self._archived and events:
            raise StateError(f"session {self._session} is finished; its journal takes no more events")
        self._journal.append(events)
        for event in events:
            apply(event, self.state)

    def write_snapshot(self, view: dict[str, Any]) -> None:
        """Put this session's view into monitor/state.json, beside those of other unfinished sessions."""
        with file_lock(self._state_layout.snapshot_lock):
            sessions = self._other_sessions()
            sessions[self._session] = view
            self._write_sessions(sessions)

    def archive(self) -> None:
        """Move the journal of a finished session into its folder and take the session out of state.json.

        The last session out removes the file. Safe to call again after a crash in the middle.
        """
        source = self._state_layout.journal(self._session)
        if source.exists():
            part = self._layout.journal.with_suffix(".part")
            shutil.copyfile(source, part)  # the state folder may lie on another file system
            part.replace(self._layout.journal)
        with file_lock(self._state_layout.snapshot_lock):
            sessions = self._other_sessions()
            sessions.pop(self._session, None)
            self._write_sessions(sessions)
        shutil.rmtree(source.parent, ignore_errors=True)
        self._archived = True

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
