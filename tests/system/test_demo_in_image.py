"""The demo as it is, with its Ray heads inside a real Apptainer image, on the embedded scheduler and on SLURM."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.container.real_apptainer import ROOT, ray_image

pytestmark = [pytest.mark.ray, pytest.mark.xdist_group("slurm")]
RAY_OF_THE_IMAGE = "/opt/venv/bin/ray"
OVERRIDES = {
    "container": "apptainer",
    "ray.executable": RAY_OF_THE_IMAGE,
    "ray.object_store_bytes": 80_000_000,
    "ray.num_cpus": 1,
    "backend.args.limit": 400,  # as few files as the demo's own requirements take
    "monitoring.interval_s": 0.2,
}
ON_SLURM = {"partition": "long", "mem": 1500}
# What the entries of examples/demo/demo.yaml take without a container.
ATTEMPTS = {
    "batch25_shingle4": 1,
    "batch25_shingle8": 1,
    "batch100_shingle4": 1,
    "batch100_shingle8": 1,
    "batch50_shingle6": 2,
}


def run_demo(campaign, *arguments, **overrides):
    """Run the demo in the image, its results in the campaign's folder, and hold them against what is expected."""
    assert not Path(RAY_OF_THE_IMAGE).exists()  # or it would tell nothing of where the head was started
    out = str(campaign.out).replace("'", "\\'")
    given = {**OVERRIDES, "project.base_output_dir": f"'{out}'", **overrides}
    words = [word for key, value in given.items() for word in ("-o", f"{key}={value}")]
    done = subprocess.run(
        [sys.executable, "-m", "oellm_bench", "run", "demo", "-C", "examples/demo", *words, *arguments],
        cwd=ROOT,
        env={**os.environ, "OELLM_BENCH_IMAGE": str(ray_image())},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    expect_ends_of_the_demo(campaign)
    for name in ATTEMPTS:
        expect_head_inside_and_results_outside(campaign.session_dir / "entries" / name, ATTEMPTS[name])


def expect_ends_of_the_demo(campaign):
    rows = campaign.json("results", str(campaign.session_dir))["entries"]
    assert {row["name"]: row["attempts"] for row in rows} == ATTEMPTS
    assert {(row["success"], row["error_mode"]) for row in rows} == {(True, "success")}
    assert not any(row["requirements_not_met"] for row in rows)
    modes = [event["mode"] for event in campaign.journal() if event["event"] == "Ended"]
    assert sorted(modes) == ["crash", *["success"] * len(ATTEMPTS)]


def expect_head_inside_and_results_outside(entry, attempts):
    results = entry / "benchmark_results"
    assert {path.name for path in results.iterdir()} == {"params.json", "metrics.json", "tasks.pkl", "tasks.json"}
    assert json.loads((results / "metrics.json").read_text())["files"] == OVERRIDES["backend.args.limit"]
    last = entry / "attempts" / str(attempts)
    state = json.loads((last / "ray_state.json").read_text())
    assert (state["failure"], state["returncode"]) == ("", 0)
    assert f"ray start --address='{state['address']}'" in (last / "ray_startup.log").read_text()
    assert f"connected to Ray at {state['address']}" in (last / "stdout.log").read_text()
    assert len(list((entry / "ray_cluster").glob("session_*"))) == attempts


def test_the_demo_runs_in_the_image_on_the_embedded_scheduler(campaign):
    run_demo(campaign, "--fake")


@pytest.mark.soak
@pytest.mark.slurm
def test_the_demo_runs_in_the_image_on_slurm(real):
    sbatch = {f"slurm.sbatch.{name}": value for name, value in ON_SLURM.items()}
    run_demo(real, **sbatch, **{"slurm.client.calls_per_s": 50, "slurm.client.call_burst": 200})
