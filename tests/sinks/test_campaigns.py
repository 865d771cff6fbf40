"""Whole campaigns with sinks of which some are broken: entries pass, and everybody is told what is missing."""

from __future__ import annotations

import json

import pytest

from tests.sinks.services import Listener

SINKS = """
import json, os, sys, time, urllib.request

class Posting:
    def __init__(self, config):
        self.config = config
    def initialize(self, session_name, env_data):
        pass
    def process_result(self, result):
        urllib.request.urlopen(self.config["url"], json.dumps(result["name"]).encode())
    def finalize(self):
        pass

class Broken(Posting):
    def process_result(self, result):
        if os.path.exists(self.config["mended"]):
            with open(self.config["mended"], "a") as stream:
                print(result["name"], file=stream)
        else:
            raise RuntimeError("\\x1b[31mno such table: results")

class Hanging(Posting):
    def process_result(self, result):
        time.sleep(3600)
"""
COMMAND = {
    "backend": {"class_name": "CommandBackend", "command": "echo {n}"},
    "sweep": {"axes": {"n": [1, 2, 3]}, "name_template": "n{n}"},
}


@pytest.fixture
def sinks(packaged):
    return packaged(SINKS, posting="Posting", broken="Broken", hanging="Hanging")


def test_a_broken_sink_stops_nothing_is_named_and_is_served_later(campaign, sinks):
    mended, listener = campaign.folder / "mended", Listener()
    with listener.open() as url:
        campaign.write(
            **COMMAND,
            sinks={
                "files": {"class_name": "FilesSink"},
                "good": {"class_name": "posting", "url": url},
                "bad": {"class_name": "broken", "mended": str(mended), "drain_s": 0.5},
            },
        )
        done = campaign.run("run")
    assert done.returncode == 1
    assert "3 of 3 passed" in done.stderr
    assert "sink bad has not taken 3 of 3 results; " in done.stderr
    assert done.stderr.count("sink bad: RuntimeError: \\x1b[31mno such table: results") == 1
    assert done.stderr.count("no such table") == 1
    assert sorted(listener.heard) == ["n1", "n2", "n3"]
    assert len((campaign.session_dir / "results.jsonl").read_text().splitlines()) == 3
    (left,) = campaign.json("status")["sinks"]
    assert (left["sink"], left["results"], left["of"]) == ("bad", 3, 3)
    assert "sink bad has not taken 3 of 3 results: RuntimeError" in campaign.run("status").stdout

    still = campaign.run("deliver", "last")
    assert still.returncode == 4
    assert "sink bad has not taken 3 of 3 results: RuntimeError: \\x1b[31mno such table" in still.stderr
    mended.touch()
    now = campaign.run("deliver", "last", "--sink", "bad")
    assert (now.returncode, now.stdout) == (0, "sink bad has taken everything\n"), now.stderr
    again = campaign.run("deliver", "last")
    assert (again.returncode, again.stdout) == (0, "nothing is left to deliver\n")
    assert sorted(mended.read_text().split()) == ["n1", "n2", "n3"]
    assert campaign.json("status")["sinks"] == []
    assert campaign.run("monitor").returncode == 0
    ends = [
        line for line in campaign.journal() if line["event"] == "Delivered" and not (line["entry"] + line["notice"])
    ]
    assert [line["sink"] for line in ends][-1] == "bad"


def test_a_hanging_sink_keeps_no_entry_waiting(campaign, sinks):
    campaign.write(**COMMAND, sinks={"hanging": {"class_name": "hanging", "url": "", "timeout_s": 600, "drain_s": 0.2}})
    done = campaign.run("run")
    assert done.returncode == 1
    assert "3 of 3 passed" in done.stderr
    assert "sink hanging has not taken 3 of 3 results" in done.stderr
    assert campaign.processes() == []


def test_one_look_waits_for_the_sinks_answers(campaign, sinks):
    listener = Listener()
    with listener.open() as url:
        campaign.write(**COMMAND, sinks={"good": {"class_name": "posting", "url": url}})
        assert campaign.run("submit").returncode == 0
        campaign.wait(lambda: campaign.run("monitor", "--once").returncode or _finished(campaign))
    assert sorted(listener.heard) == ["n1", "n2", "n3"]


def _finished(campaign) -> bool:
    (row,) = campaign.json("sessions")["sessions"]
    return row["state"] == "finished"


def test_a_sink_the_session_does_not_have_is_refused(campaign, sinks):
    campaign.write(**COMMAND)
    campaign.run("run")
    done = campaign.run("deliver", "last", "--sink", "filse")
    assert done.returncode == 2
    assert "has no sink 'filse'; did you mean 'files'?" in done.stderr


def test_a_secret_that_is_not_set_is_named_by_plan_and_refused_by_submit(campaign):
    campaign.write(**COMMAND, sinks={"ml": {"class_name": "MlflowSink", "tracking_uri_env": "MY_TRACKING_URI"}})
    planned = campaign.run("plan")
    said = "sinks.ml.tracking_uri_env: environment variable MY_TRACKING_URI is not set; export MY_TRACKING_URI"
    assert planned.returncode == 0
    assert said in planned.stderr
    refused = campaign.run("submit")
    assert refused.returncode == 2
    assert said in refused.stderr


def test_a_password_in_a_configured_address_is_refused_and_not_repeated(campaign):
    campaign.write(**COMMAND, sinks={"ml": {"class_name": "MlflowSink", "tracking_uri": "https://me:hunter2@x.org"}})
    done = campaign.run("plan")
    assert done.returncode == 2
    assert "sinks.ml.tracking_uri: it holds a user or password" in done.stderr
    assert "hunter2" not in done.stderr
    assert not campaign.out.exists()


def test_the_table_of_results_has_every_column_and_no_formula(campaign):
    campaign.write(
        backend={"class_name": "CommandBackend", "command": "echo {n}"},
        sweep={"axes": {"n": [1, "=1+1"]}},
    )
    done = campaign.run("run")
    assert done.returncode == 0, done.stderr
    header, *rows = (campaign.session_dir / "results.csv").read_text().splitlines()
    assert header.startswith("name,id,group,success")
    assert header.endswith("parameters.n,requirements_not_met")
    assert sorted(row.split(",")[-2] for row in rows) == ["'=1+1", "1"]
    lines = [json.loads(line) for line in (campaign.session_dir / "results.jsonl").read_text().splitlines()]
    assert {"attempts", "group", "requirements"} <= lines[0].keys()
    assert "script_metrics" not in lines[0]
