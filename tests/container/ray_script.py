"""One task on the Ray head that RAY_ADDRESS names; says where it ran. Run inside the image."""

import argparse
import json
import os
import pathlib
import time

import ray

parser = argparse.ArgumentParser()
parser.add_argument("--benchmark-results-path", type=pathlib.Path, required=True)
parser.add_argument("--sleep-s", type=float, default=0)
options = parser.parse_args()

ray.init(address=os.environ["RAY_ADDRESS"], log_to_driver=False)


@ray.remote
def place():
    return {"ray": ray.__file__, "hidden": os.environ.get("HIDDEN", ""), "shown": os.environ.get("SHOWN", "")}


found = ray.get(place.remote())
print("task done", flush=True)
time.sleep(options.sleep_s)
nodes = sum(node["Alive"] for node in ray.nodes())
metrics = {"is_success": True, "address": os.environ["RAY_ADDRESS"], "nodes": nodes, **found}
(options.benchmark_results_path / "metrics.json").write_text(json.dumps(metrics))
