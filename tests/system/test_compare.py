"""Real sessions compared on the command line, and entries that are expected to fail."""

from __future__ import annotations

import json
import sys

import pytest

SCRIPT = """
import json, pathlib, random, sys
level, entry, folder = float(sys.argv[1]), sys.argv[2], pathlib.Path(sys.argv[-1])
noise = random.Random(entry + sys.argv[1]).gauss(1, 0.002)
values = {"tokens_per_s": level * noise, "windows": 181, "note": "a|b <script> \\x1b[31m"}
(folder / "metrics.json").write_text(json.dumps(values))
(folder / "params.json").write_text("{}")
"""


@pytest.fixture
def nightly(campaign):
    """A campaign of one entry, run four times; `level` is its speed."""
    (campaign.folder / "measure.py").write_text(SCRIPT)

    def write(**sections):
        campaign.write(
            backend={
                "class_name": "ScriptBackend",
                "script": str(campaign.folder / "measure.py"),
                "python": sys.executable,
                "args": ["{level}", "{entry_name}"],
            },
            capture={"packages": False},
            sweep={"base_values": {"level": 1000}, "repeat": 4, "name_template": "e"},
            **sections,
        )
        return campaign

    return write


def session_ids(campaign):
    return [path.parent.name for path in sorted(campaign.out.glob("*/session.json"), key=lambda p: p.stat().st_mtime)]


def test_a_slower_night_is_found_and_its_requirement_not_met(nightly):
    campaign = nightly(requirements=[{"metric": "tokens_per_s", "reference": ["baseline", "-5 %", None, "tok/s"]}])
    first = campaign.run("run")
    assert first.returncode == 0, first.stderr
    assert "'c' has no baseline" in first.stderr
    assert "not judged against the baseline" in first.stdout
    chosen = campaign.run("baseline", "set", "last")
    assert chosen.returncode == 0, chosen.stderr
    (baseline,) = session_ids(campaign)
    assert campaign.run("baseline", "show", "c").stdout.strip() == baseline

    second = campaign.run("run", "-o", "sweep.base_values.level=900")
    assert second.returncode == 1
    assert f"of baseline {baseline}" in second.stdout

    compared = campaign.run("compare", "--json", "--metric", "tokens_per_s", "--metric", "windows")
    assert compared.returncode == 1, compared.stderr
    document = json.loads(compared.stdout)
    assert (document["schema_version"], document["baseline"], document["worse"]) == (1, baseline, True)
    found = {row["metric"]: (row["entry"], row["verdict"]) for row in document["rows"]}
    assert found == {"tokens_per_s": ("e", "worse"), "windows": ("e", "same")}
    (row,) = [row for row in document["rows"] if row["metric"] == "tokens_per_s"]
    assert len(row["samples"]) == len(row["baseline_samples"]) == 4
    assert row["interval"][0] < row["difference"] < row["interval"][1] < -0.08
    assert "it is the baseline of c" in compared.stderr

    assert document["environment"]["difference"] == []
    script = campaign.folder / "measure.py"
    script.write_text(f"{script.read_text()}# edited\n")
    assert campaign.run("run", "-o", "sweep.base_values.level=901").returncode == 1
    changed = json.loads(campaign.run("compare", "--json").stdout)["environment"]["difference"]
    assert [item["what"] for item in changed] == ["script measure.py"]

    table = campaign.run("compare")
    assert table.returncode == 1 and " worse " in table.stdout
    markdown = campaign.run("compare", "--md")
    assert "<script>" not in markdown.stdout and "\x1b" not in markdown.stdout
    assert "| e | tokens_per_s | worse |" in markdown.stdout

    shown = campaign.run("history", "c", "--metric", "tokens_per_s")
    assert shown.returncode == 0 and shown.stdout.count("c_2") == 3
    series = json.loads(campaign.run("history", "last", "--metric", "tokens_per_s", "--json").stdout)
    assert [point["n"] for point in series["series"][0]["points"]] == [4, 4, 4]

    refused = campaign.run("baseline", "set", "last")
    assert refused.returncode == 2 and "did not pass (e)" in refused.stderr
    assert campaign.run("baseline", "show", "--json").stdout.count(baseline) == 2
    assert campaign.run("baseline", "set", "last", "--force").returncode == 0
    assert campaign.run("baseline", "clear", "c").returncode == 0
    assert "c has no baseline" in campaign.run("baseline", "show", "c").stderr


@pytest.mark.parametrize(
    ("command", "code", "told"),
    [("exit 3", 0, "1 failed as expected"), ("true", 1, "passed, though it is expected to fail (issue 7)")],
    ids=["fails", "passes"],
)
def test_an_entry_that_is_expected_to_fail_does_so_or_not(campaign, command, code, told):
    campaign.write(
        backend={"class_name": "CommandBackend", "command": command},
        project={"expected_failure": "issue 7"},
        restart_policies=[],
    )
    done = campaign.run("run")
    assert done.returncode == code, done.stderr
    assert told in done.stderr
    results = campaign.run("results", "--json")
    (row,) = json.loads(results.stdout)["entries"]
    assert results.returncode == code
    assert (row["success"], row["as_expected"], row["expected_failure"]) == (code == 1, code == 0, "issue 7")
    finished = [event for event in campaign.journal() if event["event"] == "SessionFinished"]
    assert [(event["passed"], event["failed"]) for event in finished] == [(1 - code, code)]
