"""Slack: how a session goes and how each entry ended, for people."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from compoconf import register

from oellm_bench.core.option import option
from oellm_bench.errors import ConfigError, Problem
from oellm_bench.sinks.base import Notice, Progress, Sink, SinkConfig
from oellm_bench.sinks.needs import not_installed, unset
from oellm_bench.sinks.receipts import Receipts
from oellm_bench.sinks.secrets import address_problems, name_problems, secret
from oellm_bench.sinks.slack_calls import Patience, SlackCalls, WebhookCalls
from oellm_bench.sinks.slack_message import Overview, summary_of
from oellm_bench.sinks.slack_reports import Report, ThreadReport, WebhookReport
from oellm_bench.sinks.slack_text import texts, went_well
from oellm_bench.sinks.slack_thread import Session, SlackThread

SLACK_API = "https://slack.com/api/"


@dataclass(frozen=True, kw_only=True)
class SlackSinkConfig(SinkConfig):
    """A channel of Slack, by a bot's token or by an incoming webhook. Secrets are named, never given."""

    mode: Literal["auto", "bot", "webhook"] = option(
        "bot: a live message with a thread; webhook: messages when the session is over; auto: bot where there is a "
        "channel_id",
        "auto",
    )
    token_env: str = option("name of the variable with the bot's token", "SLACK_BOT_TOKEN")
    channel_id: str = option("the channel's id (C...), for a bot", "")
    webhook_url_env: str = option("name of the variable with the webhook's address", "SLACK_WEBHOOK_URL")
    default_metrics: tuple[str, ...] = option("metrics shown of every entry, beside exec_time_s", ())
    live_updates: bool = option(
        "follow starts and restarts too; with a webhook: tell failures and restarts at once", False
    )
    ping_users_on_failure: bool = option("mention those in sink_data.<sink>.ping_on_failure when an entry fails", True)
    thread_replies_for_failures_or_warnings_only: bool = option("leave replies about good entries out", False)
    update_interval_s: float = option("least time between two updates of the live message", 1.2, unit="s")
    base_url: str = option("where Slack's Web API is", SLACK_API)

    @property
    def by_bot(self) -> bool:
        """Whether a bot tells it."""
        return self.mode == "bot" or (self.mode == "auto" and bool(self.channel_id))


@register
class SlackSink(Sink):
    """Count what it was told in its receipts, so that a crash loses nothing and posts nothing twice."""

    config: SlackSinkConfig

    def __init__(self, config: SlackSinkConfig) -> None:
        self.config = config
        if wrong := [*self._wrong_values()]:
            raise ConfigError(wrong)
        self._patience = Patience(config.timeout_s)
        self._progress: Progress | None = None
        self._session_name = ""
        self._environment: Mapping[str, Any] = {}
        self._receipts: Receipts
        self._report: Report

    def problems(self) -> Sequence[Problem]:
        """Return what is missing here: the library, the variable, a usable address in it."""
        found = unset(self._variable, self._variable_field)
        if found and self.config.mode == "auto" and not self.config.by_bot:
            what = f"there is neither a channel for a bot nor a webhook (${self._variable})"
            fix = f"give the channel's id (C...) from its details in Slack, or export {self._variable}=..."
            found = [Problem(what=what, where="channel_id", fix=fix)]
        found += not_installed("slack_sdk", "slack")
        if not self.config.by_bot and not found:
            found += address_problems(secret(self._variable), self._variable_field)
        return found

    def initialize(self, session_name: str, env_data: Mapping[str, Any]) -> None:
        """Post the live message, or find it again. Raises ConfigError, SinkError."""
        self._patience.begin()
        if wrong := self.problems():
            raise ConfigError(wrong)
        self._session_name, self._environment = session_name, env_data
        self._receipts = Receipts.of(str(env_data["session_dir"]), str(env_data.get("sink_name", "slack")))
        self._report = self._make_report()
        self._report.session(self._overview(), at_once=True)

    def process_result(self, result: Mapping[str, Any]) -> None:
        """Tell how an entry ended, and how far the session is."""
        self._patience.begin()
        own = result.get("sink_data") or {}
        metrics = [*self.config.default_metrics, *texts(own.get("additional_metrics"))]
        pings = self.config.ping_users_on_failure and not went_well(result)
        people = [*texts(own.get("ping_on_failure"))] if pings else []
        summary = {"success": went_well(result), "people": people}
        if not self.config.by_bot:  # for its table at the end; a thread has the values already
            summary |= summary_of(result, metrics)
        self._report.entry(result, metrics, people)
        if self._receipts.get(f"entry:{result['id']}") != summary:
            self._receipts.put(f"entry:{result['id']}", **summary)
        self._report.session(self._overview(), at_once=False)

    def notify(self, notice: Notice) -> None:
        """Tell a notice; restarts and failures only with `live_updates`."""
        self._patience.begin()
        if notice.kind == "notice" or self.config.live_updates:
            self._report.notice(notice)

    def progress(self, progress: Progress) -> None:
        """Bring the live message up to date."""
        self._patience.begin()
        self._progress = progress
        if self.config.live_updates or self._report.stale:
            self._report.session(self._overview(), at_once=True)

    def finalize(self) -> None:
        """Tell that the session is over."""
        self._patience.begin()
        entries = [*self._receipts.under("entry:").values()]
        people = [person for entry in entries for person in entry["people"]]
        self._report.end(self._overview(over=True), entries, people)

    @property
    def _variable(self) -> str:
        return self.config.token_env if self.config.by_bot else self.config.webhook_url_env

    @property
    def _variable_field(self) -> str:
        return "token_env" if self.config.by_bot else "webhook_url_env"

    def _wrong_values(self) -> Iterator[Problem]:
        config = self.config
        yield from name_problems(config.token_env, "token_env", "SLACK_BOT_TOKEN")
        yield from name_problems(config.webhook_url_env, "webhook_url_env", "SLACK_WEBHOOK_URL")
        yield from address_problems(config.base_url, "base_url")
        if config.mode == "bot" and not config.channel_id:
            fix = "copy the channel's id (C...) from its details in Slack, or use mode: webhook"
            yield Problem(what="a bot needs a channel", where="channel_id", fix=fix)
        if config.update_interval_s < 0:
            what = f"{config.update_interval_s:g} s cannot work"
            yield Problem(what=what, where="update_interval_s", fix="give 0 or more")

    def _make_report(self) -> Report:
        config, value = self.config, secret(self._variable)
        if not config.by_bot:
            return WebhookReport(WebhookCalls(value, self._patience), self._receipts, live=config.live_updates)
        calls = SlackCalls(value, config.base_url, self._patience)
        session = Session(self._session_name, float(self._environment.get("created_at", 0.0)))
        thread = SlackThread(calls, self._receipts, config.channel_id, session)
        quiet = config.thread_replies_for_failures_or_warnings_only
        return ThreadReport(thread, interval_s=config.update_interval_s, quiet=quiet)

    def _overview(self, *, over: bool = False) -> Overview:
        ends = [bool(entry["success"]) for entry in self._receipts.under("entry:").values()]
        return Overview(
            session=self._session_name,
            total=max(int(self._environment.get("entries", 0)), len(ends)),
            passed=sum(ends),
            failed=len(ends) - sum(ends),
            progress=self._progress,
            over=over,
            run_reason=str(self._environment.get("run_reason", "")),
            viewer_url=str(self._environment.get("viewer_url", "")),
        )
