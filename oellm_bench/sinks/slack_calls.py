"""Calls to Slack: refusals, limits and silence as errors that hold no secret, and waiting where Slack asks for it."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from oellm_bench.sinks.base import SinkError, TryAgain
from oellm_bench.sinks.secrets import unreachable, without

_LONGEST_REQUEST_S = 10.0
_DEFAULT_WAIT_S = 30.0  # where a 429 does not say how long; what Slack's documents show
_PAGE = 200
_MOST_PAGES = 50
_LOOKED_BACK_S = 3600.0  # clocks disagree
_GONE = frozenset({"message_not_found", "edit_window_closed", "cant_update_message"})
_WRONG_BLOCKS = frozenset({"invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "invalid_attachments"})
_NO_LOOKUP = frozenset({"missing_scope", "not_in_channel", "not_allowed_token_type", "no_permission", "access_denied"})
# The library writes addresses and headers at its debug level.
_SILENT = logging.Logger("slack", level=logging.CRITICAL + 1)


class LookupDenied(SinkError):
    """The token may not read the channel."""


class MessageGone(SinkError):
    """The message was deleted, or may no longer be edited."""


class BlocksRefused(SinkError):
    """Slack takes the blocks of a message for wrong, and always will."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What one HTTP request yielded; `error` is empty where Slack took it."""

    error: str = ""
    status: int = 200
    retry_after: str = ""
    data: Mapping[str, Any] | None = None


class Patience:
    """How long one call of the sink may take: waiting beyond it is left to whoever tries again."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = math.inf

    def begin(self) -> None:
        """Start the time of a call."""
        self._end = time.monotonic() + 0.7 * self._seconds

    @property
    def request_s(self) -> float:
        """How long a single request may take."""
        return min(_LONGEST_REQUEST_S, self._seconds / 4)

    def answered(self, request: Callable[[], Answer]) -> Answer:
        """Return the answer of a request, made again when Slack's limits allow. Raises TryAgain."""
        if time.monotonic() > self._end:
            raise TryAgain("Slack is slow; the rest follows", 0.0)
        while (answer := request()).status == 429:
            wait = _seconds(answer.retry_after)
            if time.monotonic() + wait + self.request_s > self._end:
                raise TryAgain(f"Slack takes no more messages for {wait:g} s", wait)
            time.sleep(wait)
        return answer


class SlackCalls:
    """The Web API with a bot's token: the four methods that a thread needs. All raise SinkError."""

    def __init__(self, token: str, base_url: str, patience: Patience) -> None:
        from slack_sdk import WebClient

        self._token, self._patience = token, patience
        # Its own retries repeat a message whose answer was lost; here an unclear one is looked up first.
        self._client = WebClient(token, base_url=base_url, logger=_SILENT, retry_handlers=[])

    def post(self, arguments: Mapping[str, Any]) -> str:
        """Post a message and return its ts."""
        return str(self._call("chat.postMessage", {**arguments, "unfurl_links": False, "unfurl_media": False})["ts"])

    def update(self, arguments: Mapping[str, Any]) -> None:
        """Replace a message. Raises MessageGone where there is none to replace."""
        self._call("chat.update", arguments)

    def find(self, channel: str, event: Mapping[str, Any], since: float, thread: str = "") -> str:
        """Return the ts of the message with that metadata, empty where there is none.

        `since` (epoch seconds): the earliest that it can have been posted. Raises LookupDenied.
        """
        for message in self._messages(channel, since, thread):
            if _is_event(message.get("metadata"), event):
                return str(message["ts"])
        return ""

    def _messages(self, channel: str, since: float, thread: str) -> Iterator[Mapping[str, Any]]:
        method = "conversations.replies" if thread else "conversations.history"
        arguments: dict[str, Any] = {"channel": channel, "oldest": f"{since - _LOOKED_BACK_S:.6f}", "limit": _PAGE}
        arguments |= {"include_all_metadata": True} | ({"ts": thread} if thread else {})
        for _ in range(_MOST_PAGES):
            answer = self._call(method, arguments)
            yield from answer.get("messages") or ()
            cursor = (answer.get("response_metadata") or {}).get("next_cursor")
            if not cursor:
                return
            arguments["cursor"] = cursor

    def _call(self, method: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = self._patience.answered(lambda: self._request(method, arguments))
        if answer.error:
            self._refuse(method, answer)
        return answer.data or {}

    def _request(self, method: str, arguments: Mapping[str, Any]) -> Answer:
        from slack_sdk.errors import SlackApiError, SlackClientError

        self._client.timeout = self._patience.request_s  # type: ignore[assignment]  # urllib takes fractions
        reads = method.startswith("conversations.")
        body: dict[str, Any] = {"params": dict(arguments)} if reads else {"json": dict(arguments)}
        try:
            response = self._client.api_call(method, **body)
        except SlackApiError as err:
            return _refusal(err.response)
        except (OSError, SlackClientError, ValueError) as err:
            raise unreachable("Slack", err, self._token) from None
        return Answer(data=response.data if isinstance(response.data, dict) else {})

    def _refuse(self, method: str, answer: Answer) -> None:
        kind: type[SinkError] = SinkError
        if answer.error in _GONE:
            kind = MessageGone
        elif answer.error in _WRONG_BLOCKS:
            kind = BlocksRefused
        elif method.startswith("conversations.") and answer.error in _NO_LOOKUP:
            kind = LookupDenied
        raise kind(f"Slack refused {method}: {without(answer.error, self._token)}{_advice(answer.error)}")


class WebhookCalls:
    """An incoming webhook: it takes messages, and tells nothing of them."""

    def __init__(self, url: str, patience: Patience) -> None:
        from slack_sdk.webhook import WebhookClient

        self._url, self._patience = url, patience
        self._client = WebhookClient(url, logger=_SILENT, retry_handlers=[])

    def send(self, message: Mapping[str, Any]) -> None:
        """Send a message. Raises SinkError where Slack has not taken it."""
        answer = self._patience.answered(lambda: self._request(message))
        if answer.error:
            said = without(answer.error, self._url)
            kind = BlocksRefused if answer.error in _WRONG_BLOCKS else SinkError
            raise kind(f"Slack's webhook answered {answer.status}: {said}{_advice(said)}")

    def _request(self, message: Mapping[str, Any]) -> Answer:
        from slack_sdk.errors import SlackClientError

        self._client.timeout = self._patience.request_s  # type: ignore[assignment]
        try:
            response = self._client.send_dict({**message, "unfurl_links": False, "unfurl_media": False})
        except (OSError, SlackClientError, ValueError) as err:
            raise unreachable("Slack's webhook", err, self._url) from None
        if response.status_code == 200:
            return Answer()
        wait = response.headers.get("Retry-After", "") if response.headers else ""
        return Answer(error=response.body or "nothing", status=response.status_code, retry_after=str(wait))


_ADVICE = {
    "channel_not_found": "see slack.channel_id, and invite the bot to the channel",
    "not_in_channel": "invite the bot to the channel",
    "is_archived": "the channel is archived; choose another",
    "invalid_auth": "the token is not valid; export the bot's own",
    "not_authed": "the token is not valid; export the bot's own",
    "account_inactive": "the token was revoked; export a new one",
    "token_revoked": "the token was revoked; export a new one",
    "missing_scope": "give the bot the scope chat:write, and channels:history or groups:history",
    "no_service": "the webhook was removed; make a new one",
    "no_active_hooks": "the webhook was removed; make a new one",
    "invalid_token": "the webhook's address is not valid",
}


def _advice(error: str) -> str:
    return f"; {_ADVICE[error]}" if error in _ADVICE else ""


def _refusal(response: Any) -> Answer:
    """Read what Slack says against a request; a limit stands in the status or in the word `ratelimited`."""
    data = response.data if isinstance(response.data, dict) else {}
    error = str(data.get("error") or f"status {response.status_code}")
    wait = next((value for name, value in response.headers.items() if name.lower() == "retry-after"), "")
    status = 429 if error == "ratelimited" else response.status_code
    return Answer(error=error, status=status, retry_after=str(wait), data=data)


def _is_event(metadata: object, event: Mapping[str, Any]) -> bool:
    return isinstance(metadata, Mapping) and all(metadata.get(name) == value for name, value in event.items())


def _seconds(retry_after: str) -> float:
    try:
        wait = float(retry_after)
    except ValueError:
        return _DEFAULT_WAIT_S
    return wait if 0 <= wait < math.inf else _DEFAULT_WAIT_S
