"""Find running attempts that write nothing, or that get no further."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from oellm_bench.core.events import CancelAsked
from oellm_bench.core.layout import AttemptLayout, SessionLayout
from oellm_bench.core.plan import Plan
from oellm_bench.core.result import ErrorMode
from oellm_bench.monitoring.heartbeat import advanced_at, read_heartbeat
from oellm_bench.monitoring.log_tail import SKEW_S
from oellm_bench.monitoring.logs import file_status
from oellm_bench.state.model import AttemptState, EntryState
from oellm_bench.watch import WatchSettings


class StallWatch:
    """The stall clocks of one session's attempts."""

    def __init__(self, plan: Plan, layout: SessionLayout, settings: Sequence[WatchSettings]) -> None:
        self._plan = plan
        self._layout = layout
        self._settings = settings
        self._growth: dict[tuple[str, int], tuple[int, float]] = {}
        self._sighted_since = 0.0

    def begin_anew(self, now: float) -> None:
        """Set all clocks back: for some time before `now` nobody looked, or nobody could see."""
        self._sighted_since = now

    def events(self, live: Iterable[tuple[EntryState, AttemptState]], now: float) -> Iterator[CancelAsked]:
        """Yield a cancel for each attempt that has been silent, or at the same iteration, for too long."""
        for entry, attempt in live:
            planned = self._plan.by_id[entry.id]
            settings = self._settings[planned.watch]
            if not attempt.state.is_running or attempt.missing_since is not None or attempt.cancel_by:
                continue
            files = self._layout.entry(planned.name).attempt(attempt.number)
            reason = self._silence(entry, attempt, settings, files, now) or _standstill(attempt, settings, files, now)
            if reason:
                yield CancelAsked(
                    at=now,
                    entry=entry.id,
                    attempt=attempt.number,
                    by="stall",
                    mode=ErrorMode.STALL.value,
                    reason=reason,
                )

    def _silence(
        self, entry: EntryState, attempt: AttemptState, settings: WatchSettings, files: AttemptLayout, now: float
    ) -> str:
        """Return for how long an attempt has written nothing, if that is too long."""
        monitoring = settings.monitoring
        if not monitoring.inactivity_s:
            return ""
        # A clock that was set back leaves times in the future: they count as now.
        known = (attempt.last_output_at or 0.0, self._grown_at(entry, attempt, settings, files, now))
        alive_at = min(now, max(*known, attempt.running_since or now, self._sighted_since))
        limit = monitoring.inactivity_s
        if attempt.last_output_at is None and monitoring.startup_s:
            limit = monitoring.startup_s
        return f"no output for {now - alive_at:.0f} s" if now - alive_at > limit else ""

    def _grown_at(
        self, entry: EntryState, attempt: AttemptState, settings: WatchSettings, files: AttemptLayout, now: float
    ) -> float:
        """Return when the logs last grew: half a line is a sign of life too, though nothing to be read yet.

        Not where some lines are none: half of a line does not tell which one it will be. Logs that end where an
        earlier monitor has read them to have not grown since: single looks, as from cron, find a stall as well.
        """
        if settings.monitoring.ignore_output or not settings.follows_logs:
            return 0.0
        logs = [status for path in (files.stdout, files.stderr) if (status := file_status(path)) is not None]
        size = sum(status.st_size for status in logs)
        read = sum(int(attempt.cursors.get(name, {}).get("offset", 0)) for name in ("stdout", "stderr"))
        known = self._growth.get((entry.id, attempt.number))
        if known is None and size != read:
            # Half a line, or more: since when it has been there only its file can tell a monitor that is new.
            written_at = max((status.st_mtime for status in logs), default=0.0)
            known = (size, min(now, written_at + SKEW_S))
            self._growth[entry.id, attempt.number] = known
        known_size, grown_at = known or (read, 0.0)
        if size == known_size:
            return grown_at
        self._growth[entry.id, attempt.number] = (size, now)
        return now


def _standstill(attempt: AttemptState, settings: WatchSettings, files: AttemptLayout, now: float) -> str:
    """Return for how long an attempt is at the same iteration, if that is too long; it may write all the while.

    By its own clock, which went on while it was suspended: a heartbeat that nobody renews tells of no standstill.
    """
    limit = settings.monitoring.progress_s
    if not limit or now - (attempt.running_since or now) <= limit:
        return ""
    beat = read_heartbeat(files.heartbeat, attempt.number)
    since = advanced_at(beat)
    if since is None or beat["at"] - since <= limit:
        return ""
    return f"at iteration {beat['progress'].get('iteration')} for {beat['at'] - since:.0f} s"
