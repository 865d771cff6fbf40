"""A server on loopback that speaks the part of Slack's API that a thread and a webhook need, and checks what it gets.

What it checks is what Slack documents: docs.slack.dev/reference/block-kit/blocks (header, section, table),
docs.slack.dev/reference/methods/chat.postMessage (blocks, text, metadata), the rate-limit and pagination pages.
"""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl

from tests.sinks.loopback import Fault, LoopbackServer

TOKEN = "xoxb-0123456789-not-a-real-one"
CHANNEL = "C0TEST"
HOOK = "/services/T000/B000/a-secret-part-of-the-path"
_MENTION = re.compile(r"<(?!@[UW][A-Z0-9]+>|!subteam\^S[A-Z0-9]+>|https?://[^<>|]+\|[^<>|]+>)")


@dataclass
class SlackServer(LoopbackServer):
    """Slack as far as it is needed. `problems`: what was wrong with requests. `calls`: the methods asked, in order."""

    messages: list[dict[str, Any]] = field(default_factory=list)
    hooked: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    page: int = 100
    kill: Any = None  # (method, body) -> (pid, whether the request is done first), or None

    def __post_init__(self) -> None:
        self.listen(type("Handler", (_Handler,), {"slack": self}))

    @property
    def base_url(self) -> str:
        return f"{self.origin}/api/"

    @property
    def hook_url(self) -> str:
        return f"{self.origin}{HOOK}"

    # What people see.

    @property
    def parents(self) -> list[dict[str, Any]]:
        return [message for message in self.messages if not message["thread_ts"]]

    def replies(self, to: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        ts = (to or self.parents[0])["ts"]
        return [message for message in self.messages if message["thread_ts"] == ts]

    # What programs ask.

    def answer(self, method: str, token: str, body: dict[str, Any]) -> tuple[int, dict[str, str], dict[str, Any], bool]:
        """Return status, headers and body of the answer, and whether it is sent at all."""
        with self._lock:
            self.calls.append(method)
            doomed = self.kill(method, body) if self.kill else None
            waiting = self.faults.get(method)
            fault = waiting.pop(0) if waiting else None
            if doomed and not doomed[1]:
                os.kill(doomed[0], signal.SIGKILL)
                return 200, {}, {}, False
            if fault and not fault.takes:
                refused = {
                    "ok": False,
                    "error": fault.error or ("ratelimited" if fault.status == 429 else "fatal_error"),
                }
                headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
                answer = (fault.status or 200, headers, refused)
            else:
                answer = (fault.status if fault and fault.status else 200, {}, self._done(method, token, body))
            if doomed:
                os.kill(doomed[0], signal.SIGKILL)
        if fault and fault.holds:
            self._released.wait(30)
        return (*answer, not (doomed or (fault and (fault.drops or fault.holds))))

    def _done(self, method: str, token: str, body: dict[str, Any]) -> dict[str, Any]:
        if token != f"Bearer {TOKEN}":
            return {"ok": False, "error": "invalid_auth"}
        if body.get("channel") != CHANNEL:
            return {"ok": False, "error": "channel_not_found"}
        verbs = {"chat.postMessage": self._post, "chat.update": self._update}
        verbs |= {"conversations.history": self._history, "conversations.replies": self._replies}
        return verbs[method](body)

    def _post(self, body: dict[str, Any]) -> dict[str, Any]:
        thread = body.get("thread_ts", "")
        if wrong := [*message_problems(body), *metadata_problems(body)]:
            return self._wrong(wrong)
        if thread and thread not in {message["ts"] for message in self.messages}:
            return self._wrong(["thread_not_found"])
        ts = f"{1_700_000_000 + len(self.messages)}.000100"
        self.messages.append({**body, "ts": ts, "thread_ts": thread, "edits": 0})
        return {"ok": True, "ts": ts, "channel": CHANNEL, "message": {"text": body["text"]}}

    def _update(self, body: dict[str, Any]) -> dict[str, Any]:
        if wrong := [*message_problems(body), *metadata_problems(body)]:
            return self._wrong(wrong)
        for message in self.messages:
            if message["ts"] == body.get("ts"):
                message.update(body, edits=message["edits"] + 1)
                return {"ok": True, "ts": body["ts"], "channel": CHANNEL, "text": body["text"]}
        return {"ok": False, "error": "message_not_found"}

    def _history(self, body: dict[str, Any]) -> dict[str, Any]:
        return self._pages([*reversed(self.parents)], body)

    def _replies(self, body: dict[str, Any]) -> dict[str, Any]:
        found = [message for message in self.messages if body["ts"] in (message["ts"], message["thread_ts"])]
        return self._pages(found, body) if found else {"ok": False, "error": "thread_not_found"}

    def _pages(self, found: list[dict[str, Any]], body: dict[str, Any]) -> dict[str, Any]:
        start, size = int(body.get("cursor", "0")), min(int(body.get("limit", 100)), self.page)
        shown = [{"ts": m["ts"], "text": m["text"], **self._metadata(m, body)} for m in found[start : start + size]]
        cursor = str(start + size) if start + size < len(found) else ""
        return {"ok": True, "messages": shown, "response_metadata": {"next_cursor": cursor}}

    def _metadata(self, message: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
        return {"metadata": message["metadata"]} if body.get("include_all_metadata") in ("1", "true", True) else {}

    def hook(self, body: dict[str, Any]) -> tuple[int, dict[str, str], str]:
        with self._lock:
            self.calls.append("webhook")
            waiting = self.faults.get("webhook")
            fault = waiting.pop(0) if waiting else None
            if fault:
                headers = {"Retry-After": fault.retry_after} if fault.retry_after else {}
                return fault.status, headers, fault.error or "server_error"
            if wrong := [*message_problems(body)]:
                self.problems += wrong
                return 400, {}, "invalid_blocks"
            self.hooked.append(body)
            return 200, {}, "ok"

    def _wrong(self, problems: list[str]) -> dict[str, Any]:
        self.problems += problems
        return {"ok": False, "error": "invalid_blocks"}


def message_problems(body: Mapping[str, Any]) -> Iterator[str]:
    """Yield what Slack would say against a message."""
    blocks, text = body.get("blocks", []), body.get("text", "")
    if not text or len(text) > 40_000:
        yield "no_text"
    if _MENTION.search(text):
        yield f"unescaped: {text[:80]}"
    if not 0 < len(blocks) <= 50:
        yield f"{len(blocks)} blocks"
    if sum(block.get("type") == "table" for block in blocks) > 1:
        yield "only_one_table_allowed"
    if len(json.dumps(blocks, ensure_ascii=False)) > 13_000:
        yield "msg_blocks_too_long"
    for block in blocks:
        yield from _block_problems(block)


def _block_problems(block: Mapping[str, Any]) -> Iterator[str]:
    kind = block.get("type")
    if kind == "header":
        yield from _text_problems(block["text"], "plain_text", 150)
    elif kind == "section" and "fields" in block:
        if not 0 < len(block["fields"]) <= 10:
            yield "too many fields"
        for item in block["fields"]:
            yield from _text_problems(item, "mrkdwn", 2000)
    elif kind == "section":
        yield from _text_problems(block["text"], "mrkdwn", 3000)
    elif kind == "table":
        yield from _table_problems(block["rows"])
    else:
        yield f"unknown block {kind}"


def _table_problems(rows: list[list[dict[str, str]]]) -> Iterator[str]:
    if not 0 < len(rows) <= 100 or any(not 0 < len(row) <= 20 for row in rows):
        yield "table too large"
    for row in rows:
        for cell in row:
            yield from _text_problems(cell, "raw_text", 40_000)


def _text_problems(element: Mapping[str, Any], kind: str, longest: int) -> Iterator[str]:
    text = element.get("text", "")
    if element.get("type") != kind or not 0 < len(text) <= longest:
        yield f"{element.get('type')} of {len(text)} characters"
    if kind == "mrkdwn" and _MENTION.search(text):
        yield f"unescaped: {text[:80]}"
    if not all(character.isprintable() or character == "\n" for character in text):
        yield "control characters"


def metadata_problems(body: Mapping[str, Any]) -> Iterator[str]:
    metadata = body.get("metadata") or {}
    payload = metadata.get("event_payload")
    if not metadata.get("event_type") or not isinstance(payload, dict):
        yield "invalid_metadata_format"
    elif not all(isinstance(value, str | int | float | bool) for value in payload.values()):
        yield "invalid_metadata_schema"


class _Handler(BaseHTTPRequestHandler):
    slack: SlackServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
        kind = self.headers.get("Content-Type", "")
        body = json.loads(raw) if kind.startswith("application/json") else dict(parse_qsl(raw))
        if self.path == HOOK:
            status, headers, text = self.slack.hook(body)
            self._send(status, headers, text.encode())
            return
        method = self.path.removeprefix("/api/")
        if method.startswith("chat.") and not kind.startswith("application/json"):
            self.slack.problems.append(f"{method} is no JSON")
        status, headers, answer, sent = self.slack.answer(method, self.headers.get("Authorization", ""), body)
        if sent:
            self._send(status, headers, json.dumps(answer).encode())
        else:
            self.close_connection = True

    def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""
