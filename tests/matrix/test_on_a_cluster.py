"""The same matrix on a real cluster, and in a real image."""

from __future__ import annotations

import pytest

from tests.container.real_apptainer import ray_image

MATRIX = """
artifacts_dir: ROOT/large
ray: false
paths:
  - {name: model_weights_path, host_path: ROOT/weights, container_path: /MOUNT/weights}
  - {name: results_path, host_path: RESULTS, container_path: /MOUNT/results}
datasets: [{name: w, formats: [{type: bin, path: "{model_weights_path}/w.bin"}]}]
entries:
  - name: a
    script: reads.py
    args: >-
      --benchmark-results-path={session_entry_dir} --weights {dataset:w,bin} --out {session_entry_dir}/scratch
      --results {results_path}
    requirements: [{metric: bytes, exact_value: 3}]
  - {name: b, script: bench.py}
"""
READS = """
import argparse, json
from pathlib import Path
parser = argparse.ArgumentParser()
for name in ("--benchmark-results-path", "--weights", "--out", "--results"):
    parser.add_argument(name, type=Path)
args = parser.parse_args()
(args.out / "large.bin").write_bytes(b"x" * 100)
assert args.results.is_dir()
metrics = {"bytes": args.weights.stat().st_size, "seen_at": str(args.weights)}
(args.benchmark_results_path / "metrics.json").write_text(json.dumps(metrics))
"""


@pytest.fixture
def nightly(matrix):
    (matrix.root / "weights").mkdir()
    matrix.write("weights/w.bin", "xyz")
    matrix.script("reads", READS)
    matrix.write("m.yaml", MATRIX)
    return matrix


def test_entries_run_in_an_image_where_paths_are_mapped_and_results_come_out(nightly):
    image = ("-o", "container=apptainer", "-o", f"container.image={ray_image()}")
    done = nightly.run("run", "--config", "m.yaml", "--session-name", "s", *image, timeout=300)
    assert done.returncode == 0, done.stderr
    assert nightly.result("s", "a")["metrics"]["seen_at"] == "/MOUNT/weights/w.bin"
    assert (nightly.results / "s/a/metrics.json").is_file()
    assert not (nightly.root / "large/s/a/scratch").exists()


@pytest.mark.slurm
@pytest.mark.xdist_group("slurm")
def test_entries_are_jobs_of_a_real_cluster(nightly, slurm_cluster, monkeypatch):
    for name, value in slurm_cluster.environment.items():
        monkeypatch.setenv(name, value)
    shape = ("-o", "slurm.sbatch.partition=long", "-o", "slurm.sbatch.mem=80")
    done = nightly.run("run", "--config", "m.yaml", "--session-name", "s", "-o", "slurm=local", *shape, timeout=300)
    assert done.returncode == 0, done.stderr
    assert {nightly.result("s", name)["success"] for name in ("a", "b")} == {True}
    assert (nightly.results / "s/a/logs/stdout.log").exists()
    assert list((nightly.results / "s/a/attempts/1").glob("slurm-*.out"))
