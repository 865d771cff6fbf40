"""A campaign with its Slack and Google Drive sinks configured as a user does, from `run` to what people see."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.conftest import ROOT, campaign
from tests.sinks.drive_server import SHARED, DriveServer
from tests.sinks.slack_server import CHANNEL, TOKEN, SlackServer

__all__ = ["campaign"]
PAGE = (ROOT / "docs" / "sinks.md").read_text(encoding="utf-8")
SECTIONS = [part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE) if part.startswith(("Slack", "Google Drive"))]
SHOWN = [block for part in SECTIONS for block in re.findall(r"^```yaml\n(.*?)^```$", part, re.MULTILINE | re.DOTALL)]


@pytest.mark.parametrize("text", SHOWN)
def test_the_configuration_that_is_shown_works(campaign, text):
    campaign.root(text.replace("project:\n", "project:\n  name: my\n"))
    assert campaign.project().sinks


def test_a_campaign_is_reported_to_both(tmp_path: Path, campaign, cli):
    slack, drive = SlackServer(), DriveServer()
    try:
        campaign.root(
            f"""
            project: {{name: my, base_output_dir: {json.dumps(str(campaign.out))}, report: always}}
            sinks:
              slack:
                class_name: SlackSink
                channel_id: {CHANNEL}
                base_url: {slack.base_url}
                default_metrics: [exec_time_s]
                live_updates: true
              gdrive:
                class_name: GoogleDriveSink
                drive_folder_id: {SHARED}
                service_account_file: {json.dumps(str(drive.key_file(tmp_path)))}
                base_url: {drive.base_url}
            """,
            sweep="axes: {n: [1, 2]}",
        )
        arguments = ("run", "my", "-C", campaign.folder, "--fake")
        done = cli(*arguments, "--yes", env={"SLACK_BOT_TOKEN": TOKEN})
        assert done.rc == 0, done.stderr
        (parent,) = slack.parents
        assert "*Run status:* complete" in json.dumps(parent["blocks"]) and len(slack.replies()) == 2
        sent = {path.partition("/")[2] for path in drive.tree()}
        assert {"n1/results.json", "n2/results.json", "n1/attempts/1/stdout.log", "n1/attempts/1/exit.json"} <= sent
        assert "report.html" in sent  # written before the sinks are told of the end
        kept = [
            path for path in campaign.out.rglob("*") if path.is_file() and TOKEN in path.read_text(errors="replace")
        ]
        assert kept == [] and slack.problems == drive.problems == []
    finally:
        slack.close()
        drive.close()
