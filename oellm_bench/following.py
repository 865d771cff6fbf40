"""Follow the logs of a session's attempts: which files they are, what is new in them, and what that asks for."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from oellm_bench.core.events import CancelAsked, Event
from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.filling import entry_lookup
from oellm_bench.matching import matching
from oellm_bench.monitoring.log_tail import SKEW_S
from oellm_bench.monitoring.logs import FollowedLog, file_status, own_logs, read_logs
from oellm_bench.placeholders import expand_pattern
from oellm_bench.state.model import AttemptState, EntryState
from oellm_bench.triggers import asked_for
from oellm_bench.watch import WatchSettings

MOST_FILES = 1024  # of one attempt beside stdout and stderr: a rank each of a large job

_log = logging.getLogger(__name__)


class LogFollower:
    """The logs of one session's entries."""

    def __init__(self, plan: Plan, layout: SessionLayout, settings: Sequence[WatchSettings], *, embedded: bool) -> None:
        self._plan = plan
        self._layout = layout
        self._settings = settings
        self._embedded = embedded
        self._session = layout.root.name

    def events(self, live: Iterable[tuple[EntryState, AttemptState]], now: float) -> Iterator[Event]:
        """Yield what the signals of these attempts' logs ask for, and what came new in the logs.

        In this order: where a write to the journal ends in between, the log is read again, and nothing is lost.
        """
        for entry, attempt in live:
            planned = self._plan.by_id[entry.id]
            settings = self._settings[planned.watch]
            if not settings.follows_logs or (attempt.started_at is None and not attempt.may_be_over):
                continue
            logs = self._logs(planned, entry, attempt, settings.monitoring.logs)
            ending = bool(attempt.cancel_by)
            for event in read_logs(entry.id, attempt, logs, settings.scanner, now, final=attempt.may_be_over):
                for asked in asked_for(event, planned, settings.actions, self._session, embedded=self._embedded):
                    if not (ending and isinstance(asked, CancelAsked)):  # once is enough
                        yield asked
                    ending = ending or isinstance(asked, CancelAsked)
                yield event

    def _logs(
        self, planned: PlannedEntry, entry: EntryState, attempt: AttemptState, patterns: Sequence[str]
    ) -> Iterator[FollowedLog]:
        own = [*own_logs(attempt, self._layout.entry(planned.name).attempt(attempt.number))]
        yield from own
        if not patterns:
            return
        # A log that goes on from attempt to attempt is read on; what lay there before the first is none of ours.
        known = {name: cursor for earlier in entry.attempts for name, cursor in earlier.cursors.items()}
        names = self._further(planned, attempt, patterns, known)
        taken = {_identity(log.path) for log in own}
        read = {(cursor["device"], cursor["inode"]): cursor for cursor in known.values()}
        for name in names:
            identity = _identity(Path(name))
            if identity is None or identity in taken:
                continue  # the same file under another name
            taken.add(identity)
            # One that was read under another name, and was renamed to this one, is read on from there.
            cursor = known.get(name) or read.get(identity, {})
            since = entry.attempts[0].intended_at - SKEW_S
            yield FollowedLog(name, Path(name), cursor, since, frozenset(names))

    def _further(
        self, planned: PlannedEntry, attempt: AttemptState, patterns: Sequence[str], known: Container[str]
    ) -> list[str]:
        """Return the paths that fit the patterns, each once, those that are followed already first."""
        values = attempt_values(self._layout, planned, attempt.number)
        lookup = entry_lookup(planned, self._plan.project, self._layout)
        folder = Path(planned.cwd)
        wanted = (expand_pattern(text, lambda name: values.get(name) or lookup(name), folder) for text in patterns)
        found = dict.fromkeys(itertools.chain.from_iterable(matching(path) for path in wanted))
        names = sorted(found, key=lambda name: (name not in known, name))
        if len(names) > MOST_FILES:
            _log.warning("%s: monitoring.logs fits more than %d files; the others are left", planned.name, MOST_FILES)
        return names[:MOST_FILES]


def _identity(path: Path) -> tuple[int, int] | None:
    status = file_status(path)
    return None if status is None else (status.st_dev, status.st_ino)


def attempt_values(layout: SessionLayout, planned: PlannedEntry, attempt: int) -> Mapping[str, str]:
    """Return the placeholders that only an attempt has a value for."""
    return {"attempt": str(attempt), "attempt_dir": str(layout.entry(planned.name).attempt(attempt).root)}
