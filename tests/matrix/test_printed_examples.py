"""The examples of the two formats' own pages, as they are printed there but for paths and Curator's scripts."""

from __future__ import annotations

import json

import pytest

from tests.sinks.slack_server import SlackServer

# Without `ray:` an entry gets a head of its own; most of these tests are not about that.
NO_RAY = "ray: {enabled: false}\n"

OLDER = """
results_dir: RESULTS
default_timeout_s: 7200           # Optional; per-entry timeout overrides this
delete_scratch: true              # Optional; auto-delete {session}/scratch after run

# Optional sinks (passed through to the sink factory)
mlflow:
  tracking_uri: ${MLFLOW_TRACKING_URI}
  experiment: ray-curator-xyz
wandb: {}
slack: {}

entries:
  - name: xyz_id_xenna
    script: some_benchmark.py   # Resolved under nightly_benchmarking/scripts by default
    script_base_dir: nightly_benchmarking/scripts  # Optional override
    args: >-
      --input-path {dataset:dataset_name,jsonl}
      --output-path {session}/scratch
      --executor xenna
    timeout_s: 1800                # Optional per-entry timeout
    delete_scratch: true           # Optional per-entry override
    ray:
      num_cpus: 128
      num_gpus: 0
      enable_object_spilling: false
"""
DATASETS = """
{
  "dataset_name": {
    "jsonl": "ROOT/dataset_json/",
    "parquet": "ROOT/dataset_parquet/"
  }
}
"""


@pytest.fixture
def older(matrix):
    matrix.write("nightly_benchmarking/matrix.yaml", OLDER)
    matrix.write("nightly_benchmarking/dataset_paths.json", DATASETS)
    matrix.write("nightly_benchmarking/scripts/some_benchmark.py", matrix.script("bench").read_text())
    (matrix.root / "dataset_json").mkdir()
    return matrix


OLDER_CALL = (
    "--matrix",
    "nightly_benchmarking/matrix.yaml",
    "--datasets",
    "nightly_benchmarking/dataset_paths.json",
)


@pytest.mark.ray
def test_the_older_quick_start_runs_with_a_ray_head_of_its_own_and_keeps_its_layout(older):
    variables = {"MLFLOW_TRACKING_URI": f"sqlite:///{older.root}/mlflow.db"}
    done = older.run("run", *OLDER_CALL, "--session-name", "dedup_removal", env=variables, timeout=300)
    assert done.returncode == 0, done.stderr
    entry = older.results / "dedup_removal" / "xyz_id_xenna"
    written = {str(path.relative_to(entry)) for path in entry.glob("*/*")}
    assert written >= {
        "logs/stdout.log",
        "logs/stderr.log",
        "logs/ray_startup.log",
        "artifacts/pip-freeze.txt",
        "artifacts/sys-env.json",
        "benchmark_results/params.json",
        "benchmark_results/metrics.json",
        "benchmark_results/tasks.pkl",
    }
    assert (entry / "ray_cluster").is_dir()
    assert not (entry / "scratch").exists()
    assert (entry / "logs/stdout.log").read_text() == "to stdout\n"
    assert (entry / "logs/stderr.log").read_text() == "to stderr\n"
    params = json.loads((entry / "benchmark_results/params.json").read_text())
    given = dict(zip(params["arguments"][::2], params["arguments"][1::2], strict=True))
    assert given["--input-path"] == f"{older.root}/dataset_json/"
    assert given["--output-path"] == f"{entry}/scratch"
    assert given["--executor"] == "xenna"
    assert params["ray"]


def test_the_older_format_wants_every_variable_also_that_of_an_unused_sink(older):
    said = older.refused(*OLDER_CALL, env={"MLFLOW_TRACKING_URI": ""})
    assert "nightly_benchmarking/matrix.yaml:7: mlflow.tracking_uri" in said
    assert "MLFLOW_TRACKING_URI" in said


def test_the_older_entry_asks_for_what_it_says(older):
    entry = older.listed(*OLDER_CALL, env={"MLFLOW_TRACKING_URI": "x"})["xyz_id_xenna"]
    assert entry["timeout_s"] == 1800
    assert entry["ray"]["enabled"] is True
    assert entry["ray"]["num_cpus"] == 128
    assert entry["delete_scratch"] is True


def test_quick_start_of_the_newer_format(matrix):
    matrix.script("test_benchmark")
    matrix.write(
        "my_benchmark.yaml",
        NO_RAY
        + """
results_dir: "RESULTS"

entries:
  - name: test_benchmark
    script: test_benchmark.py
    args: --iterations 100
    timeout_s: 300
""",
    )
    done = matrix.run("run", "--config", "my_benchmark.yaml")
    assert done.returncode == 0, done.stderr
    session = done.stdout.split()[0]
    assert session.startswith("benchmark-run__")
    assert matrix.result(session, "test_benchmark")["params"]["arguments"] == ["--iterations", "100"]


def test_the_configuration_structure_and_its_layout(matrix):
    matrix.script("my_script")
    matrix.write("data/cc_sample.parquet", "")
    matrix.write(
        "config.yaml",
        NO_RAY
        + """
# Required: Where to write results
results_dir: "RESULTS"

# Optional: Where to write large artifacts (logs, scratch data)
artifacts_dir: "ROOT/artifacts"  # Defaults to results_dir/artifacts

# Optional: Global timeout for all entries (seconds)
default_timeout_s: 7200

# Optional: Delete scratch directories after each entry completes
delete_scratch: true

# Optional: Configure sinks for result processing
sinks:
  - name: mlflow
    tracking_uri: ${MLFLOW_TRACKING_URI}
    experiment: my-experiment
    enabled: false
  - name: slack
    webhook_url: ${SLACK_WEBHOOK_URL}
    enabled: false

# Optional: Define datasets for template substitution
datasets:
  - name: common_crawl
    formats:
      - type: json
        path: /data/cc_sample.jsonl
      - type: parquet
        path: ROOT/data/cc_sample.parquet

# Required: List of benchmark entries to run
entries:
  - name: my_benchmark
    script: my_script.py
    args: >-
      --input {dataset:common_crawl,parquet}
      --output {session_entry_dir}/output
    timeout_s: 1800
    ray:
      num_cpus: 32
      num_gpus: 1
    delete_scratch: false  # Override global setting
""",
    )
    done = matrix.run("run", "--config", "config.yaml", "--session-name", "my-experiment-v2")
    assert done.returncode == 0, done.stderr
    entry = matrix.results / "my-experiment-v2" / "my_benchmark"
    # `tail -f results/SESSION/ENTRY/stdouterr.log` and `cat results/SESSION/ENTRY/params.json`
    assert (entry / "stdouterr.log").read_text() == "to stdout\nto stderr\n"
    params = json.loads((entry / "params.json").read_text())
    assert params["arguments"][:2] == ["--input", f"{matrix.root}/data/cc_sample.parquet"]
    assert params["arguments"][3] == f"{entry}/output"
    assert json.loads((entry / "metrics.json").read_text())["throughput_mb_s"] == 42.0
    assert (entry / "tasks.pkl").is_file()
    kept = matrix.root / "artifacts" / "my-experiment-v2" / "my_benchmark" / "scratch"
    assert kept.is_dir()
    assert (entry / "scratch").resolve() == kept


def test_several_files_separate_machines_from_benchmarks(matrix):
    matrix.write("config.yaml", NO_RAY + "entries: [{name: a, script: bench.py, timeout_s: 5}]\n")
    matrix.write("paths.yaml", 'results_dir: "${HOME}/results"\n')
    matrix.write("machine_specific.yaml", "entries: [{name: a, timeout_s: 7}]\n")
    files = [item for name in ("config", "paths", "machine_specific") for item in ("--config", f"{name}.yaml")]
    home = {"HOME": str(matrix.root)}
    assert matrix.listed(*files, env=home)["a"]["timeout_s"] == 7
    done = matrix.run("run", *files, env=home)
    assert done.returncode == 0, done.stderr
    assert matrix.result(done.stdout.split()[0], "a")["success"] is True


def test_example_2_two_benchmarks_on_one_dataset(matrix):
    matrix.script("my_benchmark")
    matrix.write("data/sample.parquet", "")
    matrix.write(
        "config.yaml",
        NO_RAY
        + """
results_dir: "./results"
datasets:
  - name: sample_data
    formats:
      - type: parquet
        path: ROOT/data/sample.parquet

entries:
  - name: benchmark_v1
    script: my_benchmark.py
    args: --input {dataset:sample_data,parquet} --algorithm v1
    
  - name: benchmark_v2
    script: my_benchmark.py
    args: --input {dataset:sample_data,parquet} --algorithm v2
""",
    )
    done = matrix.run("run", "--config", "config.yaml")
    assert done.returncode == 0, done.stderr
    session = done.stdout.split()[0]
    for version in ("v1", "v2"):
        params = matrix.result(session, f"benchmark_{version}")["params"]
        assert params["arguments"] == ["--input", f"{matrix.root}/data/sample.parquet", "--algorithm", version]


EXAMPLE_3 = """
results_dir: "RESULTS"
default_timeout_s: 7200

sinks:
  - name: mlflow
    tracking_uri: sqlite:///ROOT/mlflow.db
    experiment: nightly-benchmarks
    enabled: true
  - name: slack
    webhook_url: ${SLACK_WEBHOOK_URL}
    enabled: true

datasets:
  - name: cc_large
    formats:
      - type: parquet
        path: /data/common_crawl_large.parquet

entries:
  - name: cc_extraction
    script: common_crawl_benchmark.py
    args: >-
      --download_path {session_entry_dir}/scratch/downloads
      --output_path {session_entry_dir}/scratch/output
      --output_format parquet
      --url_limit 10000
    timeout_s: 14400
    ray:
      num_cpus: 128
      num_gpus: 8
"""


def test_example_3_is_planned_with_its_ray_and_time(matrix):
    matrix.script("common_crawl_benchmark")
    matrix.write("config.yaml", EXAMPLE_3)
    entry = matrix.listed("--config", "config.yaml", env={"SLACK_WEBHOOK_URL": "http://127.0.0.1:9/hook"})[
        "cc_extraction"
    ]
    assert (entry["ray"]["enabled"], entry["ray"]["num_cpus"], entry["ray"]["num_gpus"]) == (True, 128, 8)
    assert entry["timeout_s"] == 14400
    assert entry["argv"][-3:-1] == ["10000", "--benchmark-results-path"]


def test_example_3_wants_the_variable_of_its_sink(matrix):
    matrix.script("common_crawl_benchmark")
    matrix.write("config.yaml", EXAMPLE_3)
    said = matrix.refused("--config", "config.yaml", env={"SLACK_WEBHOOK_URL": ""})
    assert "SLACK_WEBHOOK_URL" in said
    assert "config.yaml:" in said


@pytest.mark.ray
def test_example_3_runs_with_a_head_of_that_size_and_both_sinks_are_told(matrix):
    matrix.script("common_crawl_benchmark")
    matrix.write("config.yaml", EXAMPLE_3)
    slack = SlackServer()
    try:
        call = ("run", "--config", "config.yaml", "--session-name", "nightly-run")
        done = matrix.run(*call, env={"SLACK_WEBHOOK_URL": slack.hook_url}, timeout=300)
    finally:
        slack.close()
    assert done.returncode == 0, done.stderr
    assert len(slack.hooked) == 1
    assert (matrix.root / "mlflow.db").is_file()
    assert matrix.result("nightly-run", "cc_extraction")["params"]["ray"]
