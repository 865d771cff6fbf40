"""Weights & Biases without a network: the runs that lie in the session's folder are read back by its own messages."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.sinks.conftest import result_of

# A run's file is a log in LevelDB's format (blocks of 32 KiB, each piece behind checksum, length and kind) of W&B's
# own messages, after 7 bytes of its own. In a process of its own, for what wandb does when it is imported.
READER = """
import json, struct, sys
from wandb.proto.wandb_internal_pb2 import Record

def records(data, at=7):
    whole = b""
    while at + 7 <= len(data):
        left = 32768 - at % 32768
        if left < 7:
            at += left
            continue
        length, kind = struct.unpack_from("<HB", data, at + 4)
        whole += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):
            yield whole
            whole = b""

found = {"config": {}, "summary": {}, "history": []}
for data in records(open(sys.argv[1], "rb").read()):
    record = Record()
    record.ParseFromString(data)
    kind = record.WhichOneof("record_type")
    if kind == "run":
        run = record.run
        found |= {"id": run.run_id, "name": run.display_name, "group": run.run_group, "project": run.project}
        found["config"] |= {item.key: json.loads(item.value_json) for item in run.config.update}
    elif kind == "summary":
        found["summary"] |= {(item.key or ".".join(item.nested_key)): json.loads(item.value_json)
                             for item in record.summary.update}
    elif kind == "history":
        found["history"].append({(item.key or ".".join(item.nested_key)): json.loads(item.value_json)
                                 for item in record.history.item})
    elif kind == "exit":
        found["exit_code"] = record.exit.exit_code
print(json.dumps(found))
"""


def runs(folder: Path) -> dict[str, dict]:
    found = {}
    for log in folder.glob("wandb/offline-run-*/*.wandb"):
        done = subprocess.run([sys.executable, "-c", READER, str(log)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        run = json.loads(done.stdout)
        assert run["name"] not in found, "one run of each name"
        found[run["name"]] = run
    return found


def test_a_run_per_entry_in_the_sessions_group_and_twice_is_once(worker, session_data, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    process = worker({"class_name": "WandbSink", "mode": "offline", "artifacts": True})
    metrics = {"loss": 0.5, "deep": {"er": 2}, "bad": "nan", "text": "red", "lone \ud800": 7, "lone": "\udfff"}
    for name, success in (("good", True), ("bad", False), ("good", True)):
        result = result_of(session_data, name, metrics=metrics, params={"bs": 8}, success=success)
        assert process.call("result", result).error == ""
    assert process.call("end", {}).error == ""
    process.end()
    found = runs(Path(session_data["session_dir"]))
    assert {name: run["exit_code"] for name, run in found.items()} == {"good": 0, "bad": 1}
    good = found["good"]
    assert (good["group"], good["project"]) == ("s_1", "my project")
    assert good["config"]["parameters"] == {"lr": 0.1}
    assert good["config"]["params"] == {"bs": 8}
    (point,) = good["history"]
    assert {"loss": 0.5, "deep.er": 2, "exec_time_s": 1.5}.items() <= point.items()
    assert {"loss": 0.5, "metric.text": "red", "error_mode": "success"}.items() <= good["summary"].items()
    assert (point["lone \\ud800"], good["summary"]["metric.lone"]) == (7, "\\udfff")
    assert (good["summary"]["as_expected"], good["summary"]["expected_failure"]) == (True, "")


def test_online_it_says_at_once_that_its_key_is_missing(campaign, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    campaign.write(
        backend={"class_name": "CommandBackend", "command": "true"}, sinks={"wb": {"class_name": "WandbSink"}}
    )
    done = campaign.run("submit")
    assert done.returncode == 2
    assert "sinks.wb.api_key_env: environment variable WANDB_API_KEY is not set" in done.stderr
