"""The sinks of a matrix: their secrets, and what people see after a run that was killed in the middle."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest

from tests.matrix.matrices import SCRIPT
from tests.sinks.conftest import packaged
from tests.sinks.slack_server import CHANNEL, HOOK, TOKEN, SlackServer
from tests.waiting import wait_until

__all__ = ["packaged"]


@pytest.fixture
def slack():
    server = SlackServer()
    yield server
    server.close()


def nightly(matrix, slack, uri: str, entries: int) -> None:
    listed = "".join(f"  - {{name: e{n}, script: bench.py, args: --n {n}}}\n" for n in range(entries))
    matrix.write(
        "nightly.yaml",
        f"""
results_dir: RESULTS
ray: false
sinks:
  - name: mlflow
    tracking_uri: {uri}
    experiment: nightly
    enabled: true
  - name: slack
    channel_id: {CHANNEL}
    base_url: {slack.base_url}
    default_metrics: [throughput_mb_s]
    live_updates: true
entries:
{listed}""",
    )


def test_a_killed_run_goes_on_with_each_mlflow_run_and_slack_thread_there_once(matrix, slack, mlflow_server):
    nightly(matrix, slack, f"http://127.0.0.1:{mlflow_server.port}", entries=6)
    call = ("run", "--config", "nightly.yaml", "--session-name", "n")
    variables = {"SLACK_BOT_TOKEN": TOKEN}
    process = matrix.start(*call, env=variables)
    wait_until(lambda: len(list(matrix.results.glob("n/entries/*/results.json"))) >= 2, 120)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    done = matrix.run(*call, env=variables, timeout=300)
    assert done.returncode == 0, done.stderr
    assert slack.problems == []
    (parent,) = slack.parents
    told = Counter(reply["blocks"][0]["text"]["text"] for reply in slack.replies(parent))
    assert {name.split(":")[0] for name in told} == {f"e{n}" for n in range(6)}
    assert set(told.values()) == {1}
    runs = mlflow_server.runs("nightly")
    assert {name for name in runs if name.startswith("e")} == {f"e{n}" for n in range(6)}
    assert {len(found) for found in runs.values()} == {1}


def test_a_secret_goes_by_the_name_of_its_variable_and_is_written_nowhere(matrix, slack):
    matrix.write(
        "m.yaml",
        """
        results_dir: RESULTS
        ray: false
        sinks: [{name: slack, webhook_url: "${SLACK_WEBHOOK_URL}"}]
        entries: [{name: a, script: bench.py}]
        """,
    )
    done = matrix.run("run", "--config", "m.yaml", "--session-name", "s", env={"SLACK_WEBHOOK_URL": slack.hook_url})
    assert done.returncode == 0, done.stderr
    assert len(slack.hooked) == 1
    assert not holding(matrix, HOOK)


def test_a_webhook_that_stands_in_the_file_works_and_is_written_nowhere_else(matrix, slack):
    matrix.script("bench", f"{SCRIPT}\nimport os\nprint('mine:', dict(os.environ))\n")
    path = matrix.write(
        "m.yaml",
        f"""
        results_dir: RESULTS
        ray: false
        sinks: [{{name: slack, webhook_url: "{slack.hook_url}", enabled: true}}]
        entries: [{{name: a, script: bench.py}}]
        """,
    )
    done = matrix.run("run", "--config", "m.yaml", "--session-name", "s")
    assert done.returncode == 0, done.stderr
    assert "stands in the file in clear" in done.stderr
    assert HOOK not in done.stdout + done.stderr
    assert len(slack.hooked) == 1
    assert holding(matrix, HOOK) == [path]  # its job neither
    assert holding(matrix, "mine: {") != []


def test_a_webhook_made_of_variables_is_filled_in_and_written_nowhere(matrix, slack):
    host, _, path = slack.hook_url.removeprefix("http://").partition("/")
    matrix.write(
        "m.yaml",
        f"""
        results_dir: RESULTS
        ray: false
        sinks: [{{name: slack, webhook_url: "http://${{HOST}}/${{HOOK:-{path}}}"}}]
        entries: [{{name: a, script: bench.py}}]
        """,
    )
    done = matrix.run("run", "--config", "m.yaml", "--session-name", "s", env={"HOST": host})
    assert done.returncode == 0, done.stderr
    assert len(slack.hooked) == 1
    assert "HOST is not set" in matrix.run("check", "--config", "m.yaml").stderr


def test_check_refuses_what_run_would(matrix):
    matrix.write(
        "m.yaml",
        f"""
        results_dir: RESULTS
        ray: false
        sinks: [{{name: slack, channel_id: {CHANNEL}}}]
        entries: [{{name: a, script: bench.py}}]
        """,
    )
    without = {"SLACK_BOT_TOKEN": ""}
    said = matrix.refused("--config", "m.yaml", env=without)
    assert "m.yaml:3" in said and "SLACK_BOT_TOKEN" in said
    done = matrix.run("run", "--config", "m.yaml", env=without)
    assert (done.returncode, done.stderr) == (2, said)


def holding(matrix, text: str) -> list:
    files = [path for path in matrix.root.rglob("*") if path.is_file()]
    return [path for path in files if text.encode() in path.read_bytes()]


def test_a_sink_is_chosen_and_all_are_left_out_by_the_command_line(matrix, slack):
    nightly(matrix, slack, "sqlite:///ROOT/x.db", entries=1)
    done = matrix.run("run", "--config", "nightly.yaml", "--session-name", "s", "--sink", "none")
    assert done.returncode == 0, done.stderr
    assert slack.calls == []
    both = matrix.run("run", "--config", "nightly.yaml", "--session-name", "t", "-o", "sinks=files")
    assert both.returncode == 0, both.stderr
    assert slack.calls == []
    said = matrix.run("check", "--config", "nightly.yaml", "--sink", "mlflow,slak").stderr
    assert "did you mean 'slack'" in said


@pytest.mark.parametrize(
    ("sink", "said"),
    [
        ("{name: mlflw}", "m.yaml:3: sinks.mlflw.class_name: unknown class_name 'mlflw'"),
        ("{name: slack, chanel_id: C1}", "did you mean 'channel_id'"),
        ("{experiment: x}", "a sink has no name"),
    ],
)
def test_a_sink_that_cannot_be_is_refused_with_its_line(matrix, sink, said):
    matrix.write(
        "m.yaml",
        f"results_dir: RESULTS\nray: false\nsinks: [{sink}]\nentries: [{{name: a, script: bench.py}}]\n",
    )
    assert said in matrix.refused("--config", "m.yaml", env={"SLACK_WEBHOOK_URL": "http://127.0.0.1:9/x"})


OWN = """
from typing import Any


class MyCustomSink:
    def __init__(self, config: dict[str, Any]):
        self.config = config
        self.enabled = config.get("enabled", True)
        self.api_endpoint = config.get("api_endpoint")
        if not self.api_endpoint:
            raise ValueError("MyCustomSink: api_endpoint is required")

    def initialize(self, session_name: str, env_data: dict[str, Any]) -> None:
        self._tell(f"begin {session_name}")

    def process_result(self, result: dict[str, Any]) -> None:
        if self.enabled:
            self._tell(f"{result['name']} {result['success']} {result['timeout']} {result['script_metrics']}")

    def finalize(self) -> None:
        self._tell("end")

    def _tell(self, text: str) -> None:
        with open(self.api_endpoint, "a") as stream:
            stream.write(text + "\\n")
"""


def test_an_own_sink_by_the_name_of_its_entry_point(matrix, packaged, tmp_path):
    packaged(OWN, my_custom="MyCustomSink")
    told = tmp_path / "told"
    matrix.write(
        "m.yaml",
        f"""
        results_dir: RESULTS
        ray: false
        sinks: [{{name: my_custom, api_endpoint: {told}, enabled: true}}]
        entries: [{{name: a, script: bench.py}}]
        """,
    )
    done = matrix.run("run", "--config", "m.yaml", "--session-name", "s")
    assert done.returncode == 0, done.stderr
    assert told.read_text().splitlines() == [
        "begin s",
        "a True False {'is_success': True, 'throughput_mb_s': 42.0}",
        "end",
    ]
