"""GPUs as NVML tells of them: a stand-in library in place of the driver's."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from live_job import Job, wait_for

from oellm_bench.core.capture import Capture
from oellm_bench.core.requirement import Requirement

OFTEN = Capture(interval_s=0.1, packages=False)
SOURCE = Path(__file__).with_name("stand_in_nvml.c")
GIB = 1 << 30


@pytest.fixture(scope="session")
def nvml(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The folder of the stand-in."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("nvml")
    argv = [compiler, "-shared", "-fPIC", "-Wall", "-o", str(folder / "libnvidia-ml.so.1"), str(SOURCE)]
    subprocess.run(argv, check=True, timeout=60)
    return str(folder)


def test_both_gpus_are_described_and_sampled(job: Job, nvml: str) -> None:
    bound = Requirement(metric="peak_gpu_memory_bytes", max_value=2 * GIB)
    job.plan("true", capture=OFTEN, requirements=(bound,))
    job.run(LD_LIBRARY_PATH=nvml)
    machine = job.artifact("sys-env.json")
    assert (machine["gpu_driver"], machine["cuda_driver"]) == ("570.86.15", "12.8")
    first, second = machine["gpus"]
    assert first == {
        "index": 0,
        "uuid": "GPU-aaaa0000-0",
        "name": "Stand-in GPU",
        "memory_bytes": 80 * GIB,
        "power_limit_w": 700.0,
    }
    assert (second["index"], second["uuid"]) == (1, "GPU-bbbb1111-0")
    rows = job.artifact("gpu-stats.jsonl")
    assert {row["index"] for row in rows} == {0, 1}
    assert rows[1] | {"at": 0} == {
        "at": 0,
        "index": 1,
        "utilization_percent": 90,
        "memory_used_bytes": 2 * GIB,
        "power_w": 650.5,
        "temperature_c": None,
        "sm_clock_mhz": 1981,
    }
    expected = {"peak_gpu_memory_bytes": 3 * GIB, "peak_gpu_power_w": 950.5, "gpu_utilization_percent": 65.0}
    assert expected.items() <= job.result().resources.items()
    assert job.result().error_mode == "requirements_not_met" and "peak_gpu_memory_bytes" in job.result().reason


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [
        ("1", [1]),
        ("1,0", [0, 1]),
        ("GPU-bbbb1111-0", [1]),
        ("GPU-aaaa", [0]),
        ("0,-1,1", [0]),  # by CUDA's rule what follows a wrong one is not seen
        ("7", []),
        ("NoDevFiles", []),
        ("", []),
    ],
)
def test_only_the_gpus_that_the_job_may_use_are_seen(job: Job, nvml: str, wanted: str, seen: list[int]) -> None:
    job.plan("true", capture=OFTEN)
    assert job.run(LD_LIBRARY_PATH=nvml, CUDA_VISIBLE_DEVICES=wanted).returncode == 0
    assert [gpu["index"] for gpu in job.artifact("sys-env.json")["gpus"]] == seen
    assert (job.folder.artifacts / "gpu-stats.jsonl").exists() is bool(seen)
    assert ("peak_gpu_memory_bytes" in job.result().resources) is bool(seen)


STUCK = """
import time
def wait_for_the_gpu():
    print("up", flush=True)
    time.sleep(600)
wait_for_the_gpu()
"""


def test_a_driver_that_hangs_keeps_nothing_else_from_being_seen(job: Job, nvml: str) -> None:
    job.plan(sys.executable, "-c", STUCK, capture=OFTEN)
    began = time.monotonic()
    process = job.start("--timeout-s", "5", LD_LIBRARY_PATH=nvml, STAND_IN_NVML_HANGS="nvmlDeviceGetUtilizationRates")
    first = wait_for(job.heartbeat, "a heartbeat")
    wait_for(lambda: job.heartbeat()["at"] > first["at"], "the next")
    process.communicate(timeout=60)
    assert process.returncode == 124 and time.monotonic() - began < 15
    assert job.record().message == "stopped at its time limit of 5 s"
    assert "wait_for_the_gpu" in job.attempt().stacks.read_text()
    assert len(job.artifact("sys-env.json")["gpus"]) == 2
    assert job.result().resources["peak_processes"] == 1 and job.processes() == []


def test_a_driver_that_never_starts_keeps_no_time_limit_from_holding(job: Job, nvml: str) -> None:
    job.plan("sh", "-c", "echo up; exec sleep 600", capture=Capture(packages=False, stacks=False))
    began = time.monotonic()
    process = job.start("--timeout-s", "1", LD_LIBRARY_PATH=nvml, STAND_IN_NVML_HANGS="nvmlInit")
    job.wait_for_output("up")
    wait_for(job.observers, "the observer")
    process.communicate(timeout=60)
    assert process.returncode == 124 and time.monotonic() - began < 15
    assert job.result().error_mode == "timeout" and job.processes() == []
