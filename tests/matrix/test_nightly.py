"""A nightly matrix: thirty entries, several sinks, overrides; and a run that is killed in the middle."""

from __future__ import annotations

import json
import os
import signal

from tests.waiting import wait_until

BASE = """
results_dir: RESULTS
default_timeout_s: 120
max_timeout_s: 600
delete_scratch: true
run_reason: nightly
ray: {enabled: false, num_cpus: 2}
viewer_url_template: "https://bench.example.com/?path={session_path_url}&name={session_name}"
paths:
  - {name: model_weights_path, host_path: ROOT/weights}
datasets:
  - name: cc
    formats: [{type: parquet, path: "{model_weights_path}/cc.parquet"}]
sinks:
  - {name: files}
  - {name: table, class_name: FilesSink, filename: table.jsonl}
  - {name: slack, enabled: false, channel_id: C1, default_metrics: [exec_time_s]}
entries:
"""
ENTRY = """
  - name: bench_{n}
    script: bench.py
    args: --benchmark-results-path={{session_entry_dir}} --input {{dataset:cc,parquet}} --n {n}
    sink_data:
      - name: table
        additional_metrics: [throughput_mb_s]
    requirements:
      - metric: throughput_mb_s
        min_value: 40
"""
MACHINE = """
entries:
  - name: bench_3
    timeout_s: 300
    requirements: [{min_value: 50, metric: throughput_mb_s}]
  - name: bench_4
    enabled: false
  - name: bench_5
    repeat: 2
  - name: bench_6
    expected_failure: "known to be slow here"
    requirements: [{metric: throughput_mb_s, min_value: 1000}]
"""


def nightly(matrix, entries: int = 30) -> list[str]:
    (matrix.root / "weights").mkdir()
    matrix.write("weights/cc.parquet", "")
    matrix.write("nightly-benchmark.yaml", BASE + "".join(ENTRY.format(n=n) for n in range(entries)))
    matrix.write("machine.yaml", MACHINE)
    return ["--config", "nightly-benchmark.yaml", "--config", "machine.yaml"]


def test_thirty_entries_with_sinks_and_overrides_are_checked_and_run(matrix):
    files = nightly(matrix)
    checked = matrix.run("check", *files)
    assert checked.returncode == 0, checked.stderr
    assert "30 entries" in checked.stderr  # one is disabled, one runs twice
    done = matrix.run("run", *files, "--session-name", "n1")
    assert done.returncode == 1, done.stderr  # bench_3 misses its bound on this machine
    folder = matrix.results / "n1"
    results = {path.parent.name: json.loads(path.read_text()) for path in folder.glob("entries/*/results.json")}
    assert len(results) == 30
    assert {name for name, result in results.items() if not result["success"]} == {"bench_3", "bench_6"}
    assert "42 is below min_value 50 by 8 (16.0 %)" in results["bench_3"]["requirements_not_met"][0]
    assert {"bench_5_r1", "bench_5_r2"} <= set(results)
    for name in ("results.jsonl", "table.jsonl"):
        lines = [json.loads(line) for line in (folder / name).read_text().splitlines()]
        assert len(lines) == 30
    session = json.loads((folder / "session.json").read_text())
    assert session["viewer_url"] == f"https://bench.example.com/?path={folder}&name=n1"


def test_only_what_is_asked_for_is_run(matrix):
    files = nightly(matrix)
    done = matrix.run("run", *files, "--entries", "bench_1 or bench_2*", "--session-name", "some")
    assert done.returncode == 0, done.stderr
    ran = {path.parent.name for path in matrix.results.glob("some/entries/*/results.json")}
    assert ran == {"bench_1", "bench_2", *(f"bench_2{n}" for n in range(10))}


def test_a_run_that_is_killed_between_two_entries_goes_on_where_it_was(matrix):
    files = nightly(matrix, entries=8)
    process = matrix.start("run", *files, "--session-name", "k")
    wait_until(lambda: len(list(matrix.results.glob("k/entries/*/results.json"))) >= 2)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    done = matrix.run("run", *files, "--session-name", "k")
    assert done.returncode == 1, done.stderr
    results = [json.loads(path.read_text()) for path in matrix.results.glob("k/entries/*/results.json")]
    assert len(results) == 8
    assert {result["attempt"] for result in results} == {1}
    assert len(list(matrix.results.glob("k/entries/*/attempts/*"))) == 8
    lines = (matrix.results / "k/results.jsonl").read_text().splitlines()
    assert len(lines) == 8


def test_what_the_command_line_sets_holds_for_all_and_what_it_takes_out_is_out(matrix):
    files = nightly(matrix, entries=8)
    entries = matrix.listed(*files, "-o", "project.timeout_s=7", "-o", "~slurm.max_submit")
    assert {entry["timeout_s"] for entry in entries.values()} == {7}
