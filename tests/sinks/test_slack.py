"""The Slack sink against a server that speaks Slack's API: what people see, and once whatever happens."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from oellm_bench.errors import ConfigError
from oellm_bench.sinks.base import Notice, Progress, SinkError, TryAgain
from oellm_bench.sinks.slack import SlackSink, SlackSinkConfig
from tests.conftest import ROOT, campaign
from tests.sinks.loopback import Fault, until_taken
from tests.sinks.sessions import environment, result
from tests.sinks.slack_server import CHANNEL, TOKEN, SlackServer

__all__ = ["campaign"]
FAILED = {"success": False, "error_mode": "timeout", "reason": "it took too long"}


@pytest.fixture
def slack(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlackServer]:
    server = SlackServer()
    monkeypatch.setenv("SLACK_BOT_TOKEN", TOKEN)
    monkeypatch.setenv("SLACK_WEBHOOK_URL", server.hook_url)
    yield server
    server.close()
    assert server.problems == []


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "it's a session"


def config_of(slack: SlackServer, **more: Any) -> dict[str, Any]:
    return {"channel_id": CHANNEL, "base_url": slack.base_url, "update_interval_s": 0, "timeout_s": 30, **more}


def begun(slack: SlackServer, folder: Path, entries: int = 2, **more: Any) -> SlackSink:
    told = {key: more.pop(key) for key in ("run_reason", "viewer_url", "sink_name") if key in more}
    sink = SlackSink(SlackSinkConfig(**config_of(slack, **more)))
    sink.initialize("nightly_1", environment(folder, entries, **told))
    return sink


def shown(message: dict[str, Any]) -> str:
    """Return what a reader sees of a message, block by block."""
    lines = []
    for block in message["blocks"]:
        if block["type"] == "table":
            lines += [" | ".join(cell["text"] for cell in row) for row in block["rows"]]
        else:
            lines += [text["text"] for text in block.get("fields", [block.get("text")])]
    return "\n".join(lines)


def test_a_session_is_one_live_message_with_a_reply_for_each_entry(slack, folder):
    sink = begun(slack, folder, run_reason="release <1.2>", viewer_url="https://reports/x?a=1&b=<2>")
    assert "*Run status:* running" in shown(slack.parents[0])
    sink.progress(Progress(waiting=1, running=1))
    sink.process_result(result("a", metrics={"loss": 0.25}))
    text = shown(slack.parents[0])
    assert "*Total*\n2" in text and "*Passed*\n1" in text and "*Running*\n1" in text and "*Waiting*\n0" in text
    sink.process_result(result("b", **FAILED))
    sink.finalize()
    (parent,) = slack.parents
    text = shown(parent)
    assert "complete with failures" in text and "*Failed*\n1" in text and "release &lt;1.2&gt;" in text
    assert "<https://reports/x?a=1&b=%3C2%3E|Report>" in text
    assert [shown(reply).splitlines()[0] for reply in slack.replies()] == ["a: Success", "b: Failed (timeout)"]


def test_a_session_without_failures_is_complete(slack, folder):
    sink = begun(slack, folder, 1)
    sink.process_result(result("a"))
    sink.finalize()
    assert "*Run status:* complete\n" in shown(slack.parents[0]) + "\n"


def test_metrics_are_for_people_and_a_missing_one_is_no_zero(slack, folder):
    sink = begun(slack, folder, 1, default_metrics=("time_s", "size_bytes", "lost"))
    measured = {"time_s": 123.45, "size_bytes": 3 * 1024**3, "extra": True, "not_asked": 1}
    resources = {"peak_rss_bytes": 2048}
    wanted = {"additional_metrics": ["extra", "peak_rss_bytes"]}
    sink.process_result(result("a", metrics=measured, resources=resources, sink_data=wanted))
    assert shown(slack.replies()[0]).splitlines()[1:] == [
        "Metric | Value",
        "exec_time_s | 2.00 s",
        "time_s | 123.45 s (2m 3s)",
        "size_bytes | 3.00 GiB",
        "lost | -",
        "extra | true",
        "peak_rss_bytes | 2.00 KiB",
    ]


def test_a_failure_says_why_and_whom_it_concerns(slack, folder):
    sink = begun(slack, folder, 1)
    attempts = [
        {"number": 1, "job_id": "7", "nodes": ["n1"], "error_mode": "oom", "reason": "killed", "decision": "restart"},
        {"number": 2, "job_id": "8", "nodes": ["n2"], "error_mode": "timeout", "reason": "", "decision": ""},
    ]
    more = {"requirements_not_met": ("loss: 2 is above max_value 1",), "warnings": ["slow disk"], "attempts": attempts}
    more |= {"entry_dir": "/a/session/entries/a"}
    sink.process_result(result("a", **FAILED, **more, sink_data={"ping_on_failure": ["U1", "S2", "<!here>"]}))
    text = shown(slack.replies()[0])
    for part in (
        "it took too long",
        "<@U1> <!subteam^S2> &lt;!here&gt;",
        "loss: 2 is above",
        "slow disk",
        "/a/session",
    ):
        assert part in text
    assert "- 1. job 7, n1, oom: killed -&gt; restart\n- 2. job 8, n2, timeout" in text


def test_a_failure_that_is_expected_is_none_for_people(slack, folder):
    sink = begun(slack, folder, 1, thread_replies_for_failures_or_warnings_only=True)
    known = {"expected_failure": "bug <7> is open", "sink_data": {"ping_on_failure": ["U1"]}}
    sink.process_result(result("a", **FAILED, **known))
    sink.finalize()
    assert slack.replies() == []
    text = shown(slack.parents[0])
    assert "*Run status:* complete\n" in text and "*Passed*\n1" in text and "*Failed*\n0" in text
    sink.process_result(result("a", **FAILED, **known, warnings=["slow disk"]))
    (reply,) = slack.replies()
    assert shown(reply).startswith("a: Failed as expected (bug <7> is open)\n*Expected to fail*\nbug &lt;7&gt; is open")
    assert "<@" not in json.dumps(slack.messages)


def test_a_pass_that_was_not_expected_concerns_people(slack, folder):
    sink = begun(slack, folder, 1)
    sink.process_result(result("a", expected_failure="bug 7 is open", sink_data={"ping_on_failure": ["U1"]}))
    sink.finalize()
    text = shown(slack.replies()[0])
    assert text.startswith("a: Passed, though expected to fail\n*Expected to fail*\nbug 7 is open") and "<@U1>" in text
    assert "complete with failures" in shown(slack.parents[0])


def test_nobody_is_mentioned_where_that_is_not_wanted(slack, folder):
    sink = begun(slack, folder, 1, ping_users_on_failure=False)
    sink.process_result(result("a", **FAILED, sink_data={"ping_on_failure": ["U1"]}))
    assert "<@" not in shown(slack.replies()[0])


def test_replies_about_good_entries_can_be_left_out(slack, folder):
    sink = begun(slack, folder, 3, thread_replies_for_failures_or_warnings_only=True)
    for told in (result("a"), result("b", warnings=["slow disk"]), result("c", **FAILED)):
        sink.process_result(told)
    assert [shown(reply).splitlines()[0] for reply in slack.replies()] == ["b: Success", "c: Failed (timeout)"]
    sink.process_result(result("c", attempt=2))
    assert [shown(reply).splitlines()[0] for reply in slack.replies()] == ["b: Success", "c: Success"]


def test_what_is_told_twice_is_there_once(slack, folder):
    for _ in range(2):
        sink = begun(slack, folder, 1)
        for _ in range(2):
            sink.process_result(result("a"))
            sink.notify(Notice(key="k", message="look", at=1.0))
            sink.finalize()
    assert len(slack.parents) == 1 and len(slack.replies()) == 2
    assert "*Passed*\n1" in shown(slack.parents[0])


def test_a_retried_entry_changes_its_reply(slack, folder):
    sink = begun(slack, folder, 1)
    sink.process_result(result("a", **FAILED))
    sink.process_result(result("a", attempt=2))
    (reply,) = slack.replies()
    assert shown(reply).startswith("a: Success")
    assert "*Passed*\n1" in shown(slack.parents[0]) and "*Failed*\n0" in shown(slack.parents[0])


@pytest.mark.parametrize(("live", "kinds"), [(False, ["notice"]), (True, ["notice", "restart", "failure"])])
def test_restarts_and_failures_are_told_live_only(slack, folder, live, kinds):
    sink = begun(slack, folder, live_updates=live)
    for kind in ("notice", "restart", "failure"):
        sink.notify(Notice(key=kind, message=f"a {kind} <!channel>", at=1.0, entry="e", attempt=2, kind=kind))
    told = [f"*e (attempt 2)*: a {kind} &lt;!channel&gt;" for kind in kinds]
    assert [shown(reply) for reply in slack.replies()] == told


def test_progress_changes_the_live_message_where_that_is_wanted(slack, folder):
    quiet, live = begun(slack, folder), begun(slack, folder, live_updates=True)
    quiet.progress(Progress(running=2))
    assert "*Running*\n-" in shown(slack.parents[0])
    live.progress(Progress(running=2))
    assert "*Running*\n2" in shown(slack.parents[0])


def test_a_burst_of_results_updates_the_live_message_once_and_the_end_is_right(slack, folder):
    sink = begun(slack, folder, 20, update_interval_s=0.5)
    for number in range(20):
        sink.process_result(result(str(number)))
    updates = slack.parents[0]["edits"]
    sink.finalize()
    assert updates < 20 and "*Passed*\n20" in shown(slack.parents[0])


# The service is up, down, slow, and answers 429 or 500.


def told_until_taken(sink: SlackSink, folder: Path, *results: dict[str, Any], tries: int = 10) -> list[str]:
    """Tell a session as the delivery does, each call again until it works; return what went wrong on the way."""
    calls = [lambda: sink.initialize("nightly_1", environment(folder, len(results)))]
    calls += [lambda told=told: sink.process_result(told) for told in results]
    return until_taken([*calls, sink.finalize], tries)


FAULTS = {
    "500, not taken": Fault(status=500),
    "500, taken": Fault(status=500, takes=True),
    "connection lost": Fault(takes=True, drops=True),
    "slow, taken": Fault(takes=True, holds=True),
    "slow, not taken": Fault(error="fatal_error", holds=True),
    "429, short": Fault(status=429, retry_after="0"),
    "429, long": Fault(status=429, retry_after="3600"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_after_a_fault_everything_is_there_once(slack, folder, fault):
    for method in ("chat.postMessage", "chat.update"):
        slack.fail(method, fault)
    slack.faults["chat.postMessage"] += [Fault(takes=True), fault]
    config = config_of(slack, timeout_s=2 if fault.holds else 30)
    errors = told_until_taken(SlackSink(SlackSinkConfig(**config)), folder, result("a"), result("b"))
    assert len(slack.parents) == 1
    assert [shown(reply).splitlines()[0] for reply in slack.replies()] == ["a: Success", "b: Success"]
    assert "*Run status:* complete" in shown(slack.parents[0])
    assert bool(errors) is (fault.retry_after != "0")
    assert all(TOKEN not in error and "127.0.0.1" not in error for error in errors)


def test_after_an_outage_everything_is_there_once(slack, folder):
    sink = SlackSink(SlackSinkConfig(**config_of(slack)))
    with slack.outage(), pytest.raises(SinkError, match="Slack gave no answer"):
        sink.initialize("nightly_1", environment(folder, 1))
    sink.initialize("nightly_1", environment(folder, 1))
    with slack.outage(), pytest.raises(SinkError) as caught:
        sink.process_result(result("a"))
    assert TOKEN not in str(caught.value)
    told_until_taken(sink, folder, result("a"))
    assert len(slack.parents) == 1 and len(slack.replies()) == 1


def test_a_long_wait_is_left_to_whoever_tries_again(slack, folder):
    slack.fail("chat.postMessage", Fault(status=429, retry_after="77"))
    with pytest.raises(TryAgain) as caught:
        begun(slack, folder)
    assert caught.value.after_s == 77 and len(slack.calls) == 1


def test_where_nothing_can_be_looked_up_it_is_posted_and_noted(slack, folder, caplog):
    slack.fail("chat.postMessage", Fault(takes=True, drops=True))
    slack.fail("conversations.history", Fault(error="missing_scope"))
    told_until_taken(SlackSink(SlackSinkConfig(**config_of(slack))), folder, result("a"))
    assert len(slack.parents) == 2 and len(slack.replies(slack.parents[1])) == 1
    assert "may be there twice" in caplog.text


def test_a_message_that_was_deleted_is_posted_again(slack, folder):
    sink = begun(slack, folder, 1)
    sink.process_result(result("a"))
    slack.messages.clear()
    sink.finalize()
    assert len(slack.parents) == 1 and "*Passed*\n1" in shown(slack.parents[0])


def test_a_channel_with_many_messages_is_searched_page_by_page(slack, folder):
    slack.page = 2
    slack.fail("chat.postMessage", Fault(takes=True, drops=True))
    with pytest.raises(SinkError):
        begun(slack, folder)
    others = [{**slack.messages[0], "ts": f"17000001{n:02}.000100", "metadata": {}} for n in range(5)]
    slack.messages += others
    begun(slack, folder)
    assert len(slack.parents) == 6 and slack.calls.count("conversations.history") == 3


def test_receipts_that_cannot_be_read_are_kept_and_slack_is_asked(slack, folder, caplog):
    begun(slack, folder, 1).process_result(result("a"))
    (receipts,) = (folder / "sinks").iterdir()
    receipts.write_text("\n".join(["{}", *receipts.read_text().splitlines()[1:]]))
    told_until_taken(SlackSink(SlackSinkConfig(**config_of(slack))), folder, result("a"))
    assert len(slack.parents) == 1 and len(slack.replies()) == 1
    assert "cannot be read" in caplog.text
    assert (folder / "sinks" / f"{receipts.name}.corrupt").exists()


def test_what_slack_takes_for_wrong_is_told_without_details(slack, folder):
    bot, hook = begun(slack, folder, 1), begun(slack, folder, 1, mode="webhook", sink_name="hook")
    slack.fail("chat.postMessage", Fault(error="invalid_blocks"))
    slack.fail("webhook", Fault(status=400, error="invalid_blocks"))
    for sink in (bot, hook):
        told_until_taken(sink, folder, result("a", **FAILED), tries=1)
    assert shown(slack.replies()[0]).startswith("a: Failed (timeout)\n_Slack refused the details")
    assert "_Slack refused the details" in shown(slack.hooked[0])


@pytest.mark.parametrize(
    ("error", "advice"), [("channel_not_found", "invite the bot"), ("invalid_auth", "export the bot's own")]
)
def test_a_refusal_says_what_to_do(slack, folder, error, advice):
    slack.fail("chat.postMessage", Fault(error=error))
    with pytest.raises(SinkError, match=advice):
        begun(slack, folder)


# A process that is killed.


@pytest.mark.parametrize("done_first", [True, False], ids=["taken", "not taken"])
def test_killed_at_every_single_request_there_is_one_parent_and_one_reply_an_entry(slack, folder, tmp_path, done_first):
    results = [result("a"), result("b", **FAILED)]
    document = {"module": "oellm_bench.sinks.slack", "sink": "SlackSink", "config": config_of(slack)}
    document |= {"environment": environment(folder, 2), "results": results}
    (tmp_path / "session.json").write_text(json.dumps(document))
    kills: set[str] = set()

    def started() -> int:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.sinks.worker", str(tmp_path / "session.json")], cwd=ROOT
        )

        def kill(method: str, body: dict[str, Any]) -> tuple[int, bool] | None:
            what = f"{method} {body.get('metadata', {}).get('event_payload')} {len(json.dumps(body))}"
            if what in kills or method.startswith("conversations."):
                return None
            kills.add(what)
            return process.pid, done_first

        slack.kill = kill
        return process.wait(timeout=60)

    ends = [started()]
    while ends[-1]:
        ends.append(started())
    assert set(ends) == {-9, 0} and len(kills) >= 5
    assert len(slack.parents) == 1
    assert [shown(reply).splitlines()[0] for reply in slack.replies()] == ["a: Success", "b: Failed (timeout)"]
    assert "complete with failures" in shown(slack.parents[0])


# What jobs write.

HOSTILE = "<!channel> <@U1> & \x1b[31m\x07\0 \u202e\ud800 *b* `c`"


def test_what_a_job_writes_pings_nobody_and_breaks_nothing(slack, folder):
    sink = begun(slack, folder, 1, default_metrics=(HOSTILE,))
    told = result(
        HOSTILE * 3000,
        success=False,
        error_mode=HOSTILE,
        reason=HOSTILE * 3000,
        metrics={HOSTILE: HOSTILE * 1000},
        requirements_not_met=(HOSTILE * 100,) * 60,
        warnings=["", "w" * 100_000],
        sink_data={"additional_metrics": [f"m{n}" for n in range(200)], "ping_on_failure": [HOSTILE] * 100},
    )
    sink.process_result(told)
    sink.notify(Notice(key=HOSTILE, message=HOSTILE * 3000, at=1.0, entry=HOSTILE * 3000))
    sink.finalize()
    text = "\n".join(shown(reply) for reply in slack.replies())
    assert all(f"m{n} | -" in text for n in range(200)) and text.count("- &lt;!channel&gt;") == 60
    assert "(100000 characters)" in text


def test_five_hundred_entries_have_five_hundred_rows_behind_a_webhook(slack, folder):
    sink = begun(slack, folder, 500, mode="webhook", default_metrics=tuple(f"m{n}" for n in range(30)))
    for number in range(500):
        sink.process_result(result(f"<!channel>-{number}", metrics={"m0": number, "m29": 1}))
    sink.finalize()
    rows = [line for message in slack.hooked for line in shown(message).splitlines() if line.startswith("<!channel>-")]
    assert [row.split(" | ")[0] for row in rows] == [f"<!channel>-{n}" for n in range(500)]
    assert [row.split(" | ")[3] for row in rows] == [str(n) for n in range(500)]
    assert "No place in a table of 20 columns" in shown(slack.hooked[0]) and "- m29" in shown(slack.hooked[0])


# A webhook.


def test_a_webhook_tells_the_session_when_it_is_over(slack, folder):
    sink = begun(slack, folder, mode="webhook", default_metrics=("loss",))
    sink.process_result(result("a", metrics={"loss": 0.5}))
    sink = begun(slack, folder, mode="webhook", default_metrics=("loss",))  # a crash in between
    sink.process_result(result("b", **FAILED, sink_data={"additional_metrics": ["t"], "ping_on_failure": ["U1"]}))
    assert slack.hooked == []
    sink.finalize()
    sink.finalize()
    (message,) = slack.hooked
    text = shown(message)
    assert "complete with failures" in text and "<@U1>" in text
    assert text.splitlines()[-3:] == [
        "Entry | Result | exec_time_s | loss | t",
        "a | Success | 2.00 s | 0.5 | -",
        "b | Failed (timeout) | 2.00 s | - | -",
    ]


def test_a_webhook_tells_failures_at_once_where_that_is_wanted(slack, folder):
    sink = begun(slack, folder, mode="webhook", live_updates=True)
    for told in (result("a"), result("b", **FAILED), result("b", **FAILED)):
        sink.process_result(told)
    sink.notify(Notice(key="1", message="failed for good", at=1.0, entry="b", kind="failure"))
    sink.notify(Notice(key="2", message="again on other nodes", at=1.0, entry="c", kind="restart"))
    assert [shown(message).splitlines()[0] for message in slack.hooked] == [
        "b: Failed (timeout)",
        "*c*: again on other nodes",
    ]


@pytest.mark.parametrize("fault", [Fault(status=500), Fault(status=429, retry_after="0")], ids=["500", "429"])
def test_a_webhook_that_says_no_is_asked_again(slack, folder, fault):
    slack.fail("webhook", fault)
    sink = SlackSink(SlackSinkConfig(**config_of(slack, mode="webhook")))
    errors = told_until_taken(sink, folder, result("a"))
    assert len(slack.hooked) == 1 and bool(errors) is (fault.status == 500)
    assert all("secret-part" not in error for error in errors)


def test_a_webhook_that_is_down_does_not_tell_its_address(slack, folder):
    sink = begun(slack, folder, mode="webhook")
    with slack.outage(), pytest.raises(SinkError) as caught:
        sink.finalize()
    assert "secret-part" not in str(caught.value)
    sink.finalize()
    assert len(slack.hooked) == 1


# Configuration and secrets.


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"token_env": TOKEN}, "token_env"),
        ({"webhook_url_env": "https://hooks.slack.com/services/T/B/hidden"}, "webhook_url_env"),
        ({"mode": "bot", "channel_id": ""}, "channel_id"),
        ({"base_url": "http://slack.com/api/"}, "base_url"),
        ({"update_interval_s": -1}, "update_interval_s"),
    ],
)
def test_wrong_values_are_refused_without_being_shown(values, field):
    with pytest.raises(ConfigError) as caught:
        SlackSink(SlackSinkConfig(**{"channel_id": CHANNEL, **values}))
    (problem,) = caught.value.problems
    assert problem.where == field and problem.fix
    assert "hidden" not in str(problem) and TOKEN not in str(problem)


@pytest.mark.parametrize("value", ["https://hooks/hidden", "${oc.env:SLACK_WEBHOOK_URL}"])
def test_a_secret_in_the_configuration_is_refused_before_anything_is_written(campaign, monkeypatch, value):
    monkeypatch.setenv("SLACK_WEBHOOK_URL", "https://hooks/hidden")
    campaign.root(f"sinks: {{slack: {{class_name: SlackSink, mode: webhook, webhook_url_env: '{value}'}}}}")
    problem = campaign.problem()
    assert "webhook_url_env" in problem and "export SLACK_WEBHOOK_URL" in problem and "hidden" not in problem


@pytest.mark.parametrize("mode", ["bot", "webhook"])
def test_a_missing_variable_is_named(monkeypatch, mode):
    for name in ("SLACK_BOT_TOKEN", "SLACK_WEBHOOK_URL"):
        monkeypatch.delenv(name, raising=False)
    (problem,) = SlackSink(SlackSinkConfig(channel_id=CHANNEL, mode=mode)).problems()
    assert ("SLACK_BOT_TOKEN" if mode == "bot" else "SLACK_WEBHOOK_URL") in str(problem)


def test_a_webhook_address_that_is_none_is_refused_without_being_shown(monkeypatch):
    monkeypatch.setenv("SLACK_WEBHOOK_URL", "http://hooks.slack.com/services/hidden")
    (problem,) = SlackSink(SlackSinkConfig(mode="webhook")).problems()
    assert "https://" in problem.fix and "hidden" not in str(problem)


def test_no_secret_is_on_disk_or_in_a_log(slack, folder, caplog):
    caplog.set_level("DEBUG")
    for mode in ("bot", "webhook"):
        sink = begun(slack, folder, 1, mode=mode, live_updates=True)
        sink.process_result(result("a", **FAILED))
        sink.finalize()
    slack.fail("chat.update", Fault(status=500))
    with pytest.raises(SinkError):
        begun(slack, folder, 3)
    written = "".join(path.read_text() for path in folder.rglob("*.jsonl"))
    assert all(secret not in written + caplog.text for secret in (TOKEN, "secret-part"))
