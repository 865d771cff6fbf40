"""The two ways to report a session to Slack: a bot's live message with a thread, and a webhook's plain messages."""

from __future__ import annotations

import abc
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

from oellm_bench.sinks.base import Notice
from oellm_bench.sinks.receipts import Receipts
from oellm_bench.sinks.slack_blocks import Message
from oellm_bench.sinks.slack_calls import BlocksRefused, WebhookCalls
from oellm_bench.sinks.slack_message import (
    Overview,
    entry_messages,
    notice_messages,
    overview,
    session_messages,
    warnings_of,
)
from oellm_bench.sinks.slack_text import went_well
from oellm_bench.sinks.slack_thread import SlackThread

_log = logging.getLogger(__name__)


class Report(abc.ABC):
    """Where the messages of a session go. Every method may be called again with the same, and raises SinkError.

    `stale`: people see less of the session than was told last.
    """

    stale = False

    @abc.abstractmethod
    def session(self, of: Overview, *, at_once: bool) -> None:
        """Tell how far the session is; not `at_once`: only where that was not told a moment ago."""

    @abc.abstractmethod
    def entry(self, result: Mapping[str, Any], metrics: Sequence[str], people: Sequence[str]) -> None:
        """Tell how an entry ended."""

    @abc.abstractmethod
    def notice(self, notice: Notice) -> None:
        """Tell a notice."""

    @abc.abstractmethod
    def end(self, of: Overview, summaries: Sequence[Mapping[str, Any]], people: Sequence[str]) -> None:
        """Tell that the session is over."""


class ThreadReport(Report):
    """A bot: the parent message follows the session, and each entry has its replies."""

    def __init__(self, thread: SlackThread, *, interval_s: float, quiet: bool) -> None:
        self._thread, self._interval_s, self._quiet = thread, interval_s, quiet
        self._next = 0.0

    def session(self, of: Overview, *, at_once: bool) -> None:
        """Bring the parent message up to date, no more often than Slack's limits allow."""
        wait = self._next - time.monotonic()
        if wait > 0 and not at_once:
            self.stale = True
            return
        time.sleep(max(0.0, wait))
        self._next = time.monotonic() + self._interval_s
        self._thread.show(overview(of))
        self.stale = False

    def entry(self, result: Mapping[str, Any], metrics: Sequence[str], people: Sequence[str]) -> None:
        """Reply in the thread; with `quiet` only where something is wrong, or where a reply is there already."""
        key = f"entry:{result['id']}"
        if self._quiet and went_well(result) and not warnings_of(result) and not self._thread.has(key):
            return
        self._thread.reply(key, entry_messages(result, metrics, people))

    def notice(self, notice: Notice) -> None:
        """Reply in the thread."""
        self._thread.reply(f"notice:{notice.key}", notice_messages(notice))

    def end(self, of: Overview, summaries: Sequence[Mapping[str, Any]], people: Sequence[str]) -> None:
        """Bring the parent message up to date for the last time."""
        self.session(of, at_once=True)


class WebhookReport(Report):
    """A webhook: it has no threads and cannot change a message, so a session is told when it is over.

    It cannot be asked either what it has taken: what a crash leaves unclear is sent again.
    """

    def __init__(self, calls: WebhookCalls, receipts: Receipts, *, live: bool) -> None:
        self._calls, self._receipts, self._live = calls, receipts, live

    def session(self, of: Overview, *, at_once: bool) -> None:
        """Nothing: every message would be a new one."""

    def entry(self, result: Mapping[str, Any], metrics: Sequence[str], people: Sequence[str]) -> None:
        """Tell a failure at once where that is wanted."""
        if self._live and not went_well(result):
            self._send(f"entry:{result['id']}:{result['attempt']}", entry_messages(result, metrics, people))

    def notice(self, notice: Notice) -> None:
        """Tell it, unless the entry's failure is told anyway."""
        if notice.kind != "failure":
            self._send(f"notice:{notice.key}", notice_messages(notice))

    def end(self, of: Overview, summaries: Sequence[Mapping[str, Any]], people: Sequence[str]) -> None:
        """Tell the whole session, once for each state that it ends in."""
        self._send(f"end:{of.passed}:{of.failed}", session_messages(of, summaries, people))

    def _send(self, key: str, messages: Sequence[Message]) -> None:
        for number, message in enumerate(messages):
            sent = self._receipts.get(f"message:{key}/{number}")
            if sent is None:
                try:
                    self._calls.send(message.to_document())
                except BlocksRefused as err:
                    _log.warning("a message is sent without its details (%s)", err)
                    self._calls.send(message.reduced().to_document())
                self._receipts.put(f"message:{key}/{number}", sent=True)
