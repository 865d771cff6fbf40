"""A class with three methods in somebody else's package, named by an entry point, is a sink."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from tests.sinks.services import Listener

# As NeMo Curator's documentation prints it, with another import and its placeholder filled in.
PRINTED = '''
import json
import logging
import urllib.request
from typing import Any

from oellm_bench.sinks.base import Sink

logger = logging.getLogger(__name__)


class MyCustomSink(Sink):
    def __init__(self, config: dict[str, Any]):
        super().__init__(config)
        self.config = config
        self.enabled = config.get("enabled", True)
        self.api_endpoint = config.get("api_endpoint")

        # Initialize any resources
        if not self.api_endpoint:
            raise ValueError("MyCustomSink: api_endpoint is required")

    def initialize(self, session_name: str, env_data: dict[str, Any]) -> None:
        """Called at session start."""
        self.session_name = session_name
        self.env_data = env_data

        if self.enabled:
            logger.info(f"MyCustomSink: Starting session {session_name}")
            # Perform initialization (e.g., create remote session)

    def process_result(self, result: dict[str, Any]) -> None:
        """Called after each entry completes."""
        if self.enabled:
            logger.info(f"MyCustomSink: Processing {result['name']}")
            # Send result to your API, database, etc.
            self._send_to_api(result)

    def finalize(self) -> None:
        """Called at session end."""
        if self.enabled:
            logger.info("MyCustomSink: Finalizing session")
            # Perform cleanup, send summary, etc.

    def _send_to_api(self, data: dict) -> None:
        """Helper method for API calls."""
        data = {**data, "config": self.config, "session": self.session_name, "host": self.env_data["environment"]}
        urllib.request.urlopen(urllib.request.Request(self.api_endpoint, json.dumps(data).encode()))
'''
CAMPAIGN = {
    "backend": {"class_name": "CommandBackend", "command": "echo {n}"},
    "sweep": {"axes": {"n": [1, 2]}, "name_template": "n{n}"},
    "requirements": [{"metric": "exec_time_s", "min_value": 0}],
}


@pytest.fixture
def printed(packaged):
    return packaged(PRINTED, my_custom="MyCustomSink")


def test_the_sink_of_the_documentation_runs_as_printed(campaign, printed):
    listener = Listener()
    with listener.open() as url:
        mine = {"class_name": "my_custom", "api_endpoint": url, "deep": {"a": [1]}}
        told = {"mine": {"colour": "red"}, "files": {"colour": "blue"}}
        campaign.write(**CAMPAIGN, sink_data=told, sinks={"mine": mine, "files": {"class_name": "FilesSink"}})
        done = campaign.run("run")
    assert done.returncode == 0, done.stderr
    assert sorted(heard["name"] for heard in listener.heard) == ["n1", "n2"]
    one = min(listener.heard, key=lambda heard: heard["name"])
    assert one["config"]["api_endpoint"] == url
    assert one["config"] == {**one["config"], "name": "my_custom", "enabled": True, "deep": {"a": [1]}}
    assert one["session"] == campaign.session_dir.name
    assert one["sink_data"] == {"colour": "red"}
    assert one["requirements"][0]["metric"] == "exec_time_s"
    assert [attempt["error_mode"] for attempt in one["attempts"]] == ["success"]
    assert (one["timeout"], one["command"], one["group"]) == (False, "bash -c 'echo 1'", "n1")
    assert one["entry_dir"] == str(campaign.session_dir / "entries" / "n1")


def test_what_its_constructor_says_against_its_configuration_is_said_by_plan(campaign, printed):
    campaign.write(**CAMPAIGN, sinks={"mine": {"class_name": "my_custom"}})
    done = campaign.run("plan")
    assert done.returncode == 2
    assert "sinks.mine: my_custom cannot be made (MyCustomSink: api_endpoint is required)" in done.stderr
    assert not campaign.out.exists()


def test_a_misspelt_sink_is_told_the_nearest_name(campaign, printed):
    campaign.write(**CAMPAIGN, sinks={"mine": {"class_name": "my_custum", "api_endpoint": "x"}})
    assert "unknown class_name 'my_custum'; did you mean 'my_custom'?" in campaign.run("plan").stderr


def test_a_class_that_knows_nothing_of_us_is_told_what_it_has_methods_for(campaign, packaged):
    packaged(
        """
class Plain:
    def __init__(self, config):
        self.path = config["path"]
    def note(self, *words):
        with open(self.path, "a") as stream:
            print(*words, file=stream)
    def initialize(self, session_name, env_data):
        self.note("initialize", env_data["sink_name"])
    def process_result(self, result):
        self.note("result", result["error_mode"])
    def notify(self, notice):
        self.note(notice["kind"], notice["message"])
    def progress(self, progress):
        self.note("progress", sum(progress.values()))
    def finalize(self):
        self.note("finalize")
""",
        plain="Plain",
    )
    heard = campaign.folder / "heard.txt"
    campaign.write(
        backend={"class_name": "CommandBackend", "command": "sh -c 'exit 3'"},
        sinks={"mine": {"class_name": "plain", "path": str(heard)}},
    )
    done = campaign.run("run")
    assert done.returncode == 1
    lines = heard.read_text().splitlines()
    assert (lines[0], lines[-1]) == ("initialize mine", "finalize")
    assert [line for line in lines if line.startswith("failure attempt 1 ended: crash (exit code 3")] != []
    assert "result crash" in lines
    assert {line for line in lines if line.startswith("progress")} == {"progress 1"}


def test_two_packages_that_want_one_name_are_told_of(campaign, packaged):
    packaged("", FilesSink="Other")
    campaign.write(**CAMPAIGN)
    done = campaign.run("plan")
    assert done.returncode == 0
    assert "plug-in FilesSink (their_sinks:Other) could not be loaded: there is a sink FilesSink already" in done.stderr


def test_the_sink_of_our_own_documentation_runs_as_printed(campaign, packaged):
    page = (Path(__file__).resolve().parents[2] / "docs" / "sinks.md").read_text()
    python, *_ = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    (configuration,) = (text for text in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL) if "post_results" in text)
    packaged(python, post_results="PostResults")
    listener = Listener()
    with listener.open() as url:
        document = yaml.safe_load(configuration)
        document["sinks"]["ours"]["url"] = url
        campaign.write(**CAMPAIGN, **document)
        done = campaign.run("run")
    assert done.returncode == 0, done.stderr
    assert sorted(heard["entry"] for heard in listener.heard) == ["n1", "n2"]
