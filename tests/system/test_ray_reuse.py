"""One real Ray head for the entries of a matrix, over the death of the program that runs it and of the head."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.waiting import wait_until

pytestmark = pytest.mark.ray

# The second entry waits to be told to go on; at its end it kills its cluster, as a node that runs out of memory would.
SCRIPT = """
import json, os, pathlib, time
import psutil, ray
results, folder = pathlib.Path(os.environ["OELLM_BENCH_RESULTS_PATH"]), pathlib.Path(os.environ["FOLDER"])
ray.init(address=os.environ["RAY_ADDRESS"])
one = ray.remote(lambda: 1)
assert ray.get(one.remote()) == 1
node = ray.get_runtime_context().get_node_id()
second = os.environ["OELLM_BENCH_ENTRY"] == "e_r2"
(folder / "second").touch() if second else None
while second and not (folder / "go").exists():
    time.sleep(0.02)
ray.shutdown()
(results / "params.json").write_text("{}")
(results / "metrics.json").write_text(json.dumps({"is_success": True, "node": node}))
for process in psutil.process_iter(["name", "environ"]) if second else ():
    if process.info["name"] == "raylet" and os.environ["RAY_AUTH_TOKEN"] in str(process.info["environ"]):
        process.kill()
"""
MATRIX = """
results_dir: {folder}/results
ray: {{num_cpus: 1, reuse: true}}
object_store_size: 90000000
entries:
  - {{name: e, script: {folder}/script.py, repeat: 3, environment: {{FOLDER: {folder}}}}}
"""


def result(folder: Path, number: int) -> Any:
    return json.loads((folder / "results" / "s" / f"e_r{number}" / "results.json").read_text())


def test_entries_share_a_head_until_it_dies_whoever_runs_them(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "matrix.yaml").write_text(MATRIX.format(folder=tmp_path))
    argv = [sys.executable, "-m", "oellm_bench", "matrix", "run", "--config", str(tmp_path / "matrix.yaml")]
    argv += ["--session-name", "s"]
    first = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until((tmp_path / "second").exists, 120)
    finally:
        first.kill()
        first.wait()
    (tmp_path / "go").touch()
    done = subprocess.run(argv, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    nodes = [result(tmp_path, number)["metrics"]["node"] for number in (1, 2, 3)]
    assert nodes[0] == nodes[1] != nodes[2]
    logs = tmp_path / "results" / "s" / "ray" / "logs"
    assert len([session for session in logs.iterdir() if (session / "raylet.out").exists()]) == 2
    wait_until(lambda: not left(str(tmp_path)), 60)


def left(folder: str) -> list[psutil.Process]:
    """Return the processes of the session that live, the head's and its keeper's among them."""
    return [
        process
        for process in psutil.process_iter(["cmdline", "status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE and folder in " ".join(process.info["cmdline"] or ())
    ]
