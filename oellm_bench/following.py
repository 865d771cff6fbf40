"""Follow the logs of a session's attempts: which files they are, what is new in them, and what that asks for."""

from __future__ import annotations

import glob
import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from oellm_bench.core.events import Event
from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.plan import Plan, PlannedEntry
from oellm_bench.filling import entry_lookup
from oellm_bench.monitoring.logs import FollowedLog, own_logs, read_logs
from oellm_bench.placeholders import expand_pattern
from oellm_bench.state.model import AttemptState, EntryState
from oellm_bench.triggers import asked_for
from oellm_bench.watch import WatchSettings

MOST_FILES = 1024  # of one attempt beside stdout and stderr: a rank each of a large job
_SKEW_S = 300.0  # how far a file server's clock may be behind this machine's

_log = logging.getLogger(__name__)


class LogFollower:
    """The logs of one session's entries."""

    def __init__(self, plan: Plan, layout: SessionLayout, settings: Sequence[WatchSettings], *, embedded: bool) -> None:
        self._plan = plan
        self._layout = layout
        self._settings = settings
        self._embedded = embedded

    def events(self, live: Iterable[tuple[EntryState, AttemptState]], now: float) -> Iterator[Event]:
        """Yield what came new in the logs of these attempts, and what its signals ask for."""
        for entry, attempt in live:
            planned = self._plan.by_id[entry.id]
            settings = self._settings[planned.watch]
            if not settings.follows_logs or attempt.started_at is None:
                continue
            final = attempt.terminal_since is not None
            logs = self._logs(planned, entry, attempt, settings.monitoring.logs)
            for event in read_logs(entry.id, attempt, logs, settings.scanner, now, final=final):
                yield event
                yield from asked_for(event, planned, settings.actions, embedded=self._embedded)

    def _logs(
        self, planned: PlannedEntry, entry: EntryState, attempt: AttemptState, patterns: Sequence[str]
    ) -> Iterator[FollowedLog]:
        yield from own_logs(attempt, self._layout.entry(planned.name).attempt(attempt.number))
        if not patterns:
            return
        # A log that goes on from attempt to attempt is read on; what lay there before the first is none of ours.
        known = {name: cursor for earlier in entry.attempts for name, cursor in earlier.cursors.items()}
        for name in self._further(planned, attempt, patterns):
            since = entry.attempts[0].intended_at - _SKEW_S
            yield FollowedLog(name=name, path=Path(name), cursor=known.get(name, {}), since=since)

    def _further(self, planned: PlannedEntry, attempt: AttemptState, patterns: Sequence[str]) -> list[str]:
        """Return the paths that fit the patterns, each once; what a pattern does not say itself is no pattern."""
        values = attempt_values(self._layout, planned, attempt.number)
        lookup = entry_lookup(planned, self._plan.project, self._layout)
        wanted = (
            expand_pattern(text, lambda name: values.get(name) or lookup(name), Path(planned.cwd)) for text in patterns
        )
        found = (glob.iglob(path, recursive=True) for path in wanted)  # noqa: PTH207 - Path.glob takes no absolute pattern
        names = sorted(dict.fromkeys(itertools.islice(itertools.chain.from_iterable(found), MOST_FILES + 1)))
        if len(names) > MOST_FILES:
            _log.warning("%s: monitoring.logs fits more than %d files; the others are left", planned.name, MOST_FILES)
        return names[:MOST_FILES]


def attempt_values(layout: SessionLayout, planned: PlannedEntry, attempt: int) -> Mapping[str, str]:
    """Return the placeholders that only an attempt has a value for."""
    return {"attempt": str(attempt), "attempt_dir": str(layout.entry(planned.name).attempt(attempt).root)}
