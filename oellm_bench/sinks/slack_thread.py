"""One live message a session and a thread below it, each message there once whatever happens in between."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oellm_bench.sinks.base import SinkError
from oellm_bench.sinks.receipts import Receipts
from oellm_bench.sinks.slack_blocks import Message
from oellm_bench.sinks.slack_calls import BlocksRefused, LookupDenied, MessageGone, SlackCalls

EVENT_TYPE = "oellm_bench"
_PARENT = "parent"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Session:
    """What the keys of a session begin with, and since when (epoch seconds) it can have messages."""

    id: str
    created_at: float


class SlackThread:
    """The messages of one session in a channel.

    Each has a key, which is in its metadata at Slack and in the receipts here. The intent to post is written before
    the call and the message's ts after it; where the second is missing, Slack is asked for the key first.
    """

    def __init__(self, calls: SlackCalls, receipts: Receipts, channel: str, session: Session) -> None:
        self._calls, self._receipts = calls, receipts
        self._channel, self._session = channel, session

    def show(self, message: Message) -> None:
        """Post the parent message, or bring it up to date. Raises SinkError."""
        self._deliver(_PARENT, message, "")

    def reply(self, key: str, messages: Sequence[Message]) -> None:
        """Post replies in the thread, or bring those of that key up to date. Raises SinkError."""
        for number, message in enumerate(messages):
            self._deliver(f"{key}/{number}", message, self._ts(_PARENT))

    def has(self, key: str) -> bool:
        """Tell whether there are replies of that key, or may be."""
        return self._receipts.get(f"message:{key}/0") is not None

    def _deliver(self, key: str, message: Message, thread: str) -> None:
        digest = _digest(message)
        record = self._receipts.get(f"message:{key}")
        if record is None or not record.get("ts"):
            self._settle(key, message, thread, record)
            record = self._receipts.get(f"message:{key}") or {}
        if record["digest"] != digest:
            self._update(key, message, thread)

    def _settle(self, key: str, message: Message, thread: str, intent: Mapping[str, Any] | None) -> None:
        """Post a message, unless an attempt to do so has worked without our knowing."""
        if intent is not None or self._receipts.doubtful:
            since = float(intent["since"]) if intent else self._session.created_at
            ts = self._found(key, since, thread)
            if ts:
                # What stands there may be older than what is to stand there: no digest fits.
                self._receipts.put(f"message:{key}", ts=ts, digest="")
                return
        if intent is None:
            self._receipts.put(f"message:{key}", since=time.time(), ts="", digest="")
        place = {"thread_ts": thread} if thread else {}
        try:
            ts = self._calls.post({**self._arguments(key, message), **place})
        except BlocksRefused as err:
            _log.warning("a message is sent without its details (%s)", err)
            ts = self._calls.post({**self._arguments(key, message.reduced()), **place})
        self._receipts.put(f"message:{key}", ts=ts, digest=_digest(message))

    def _update(self, key: str, message: Message, thread: str) -> None:
        try:
            self._calls.update({**self._arguments(key, message), "ts": self._ts(key)})
        except BlocksRefused as err:
            _log.warning("a message keeps its older text (%s)", err)
        except MessageGone as err:
            # Posted anew where somebody deleted it; a workspace that closes editing keeps the older text.
            _log.warning("a message of the session can no longer be changed (%s)", err)
            if "message_not_found" in str(err):
                self._settle(key, message, thread, None)
                return
        self._receipts.put(f"message:{key}", digest=_digest(message))

    def _found(self, key: str, since: float, thread: str) -> str:
        try:
            return self._calls.find(self._channel, self._event(key), since, thread)
        except LookupDenied as err:
            _log.warning("a message may be there twice: whether it is there already cannot be asked (%s)", err)
            self._receipts.put(f"message:{key}", since=since, ts="", digest="", unverified=True)
            return ""

    def _arguments(self, key: str, message: Message) -> dict[str, Any]:
        return {**message.to_document(), "channel": self._channel, "metadata": self._event(key)}

    def _event(self, key: str) -> dict[str, Any]:
        return {"event_type": EVENT_TYPE, "event_payload": {"key": f"{self._session.id}:{key}"}}

    def _ts(self, key: str) -> str:
        record = self._receipts.get(f"message:{key}")
        if not record or not record.get("ts"):
            raise SinkError("the session has no parent message yet")
        return str(record["ts"])


def _digest(message: Message) -> str:
    return hashlib.sha256(json.dumps(message.to_document(), sort_keys=True).encode()).hexdigest()[:16]
