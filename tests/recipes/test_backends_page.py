"""The examples of docs/backends.md, run as they are printed; torchrun and TorchTitan are stand-ins."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys

import pytest

from tests.recipes.conftest import BLOCK, ROOT

PAGE = (ROOT / "docs" / "backends.md").read_text(encoding="utf-8")
STAND_INS = ROOT / "tests" / "backends"
TRAIN = """\
import os, sys
flags = dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))
for epoch in range(1, int(flags["--epochs"]) + 1):
    print(f"epoch {epoch} loss {1 / epoch} rank {os.environ['RANK']} of {os.environ['WORLD_SIZE']}", flush=True)
"""
BENCHMARK = """\
import argparse, json, pathlib, pickle
parser = argparse.ArgumentParser()
parser.add_argument("--benchmark-results-path", type=pathlib.Path, required=True)
for name in ("input", "output", "iterations"):
    parser.add_argument(f"--{name}", required=True)
given = parser.parse_args()
for name, document in (("params", {"input": given.input}), ("metrics", {"is_success": True, "rows_per_s": 12.5})):
    (given.benchmark_results_path / f"{name}.json").write_text(json.dumps(document))
(given.benchmark_results_path / "tasks.pkl").write_bytes(pickle.dumps([]))
"""


@pytest.fixture
def page(checkout):
    """A folder where torchrun and torchtitan are found."""
    programs = checkout.folder / "bin"
    programs.mkdir()
    program = programs / "torchrun"
    line = shlex.join([sys.executable, str(STAND_INS / "stand_in_torchrun.py")])
    program.write_text(f'#!/bin/sh\nexec {line} "$@"\n')
    program.chmod(0o755)
    checkout.environment["PATH"] = f"{programs}{os.pathsep}{checkout.environment['PATH']}"
    checkout.environment["PYTHONPATH"] = str(STAND_INS / "stand_in_titan")
    return checkout


def example(checkout, title):
    """Write the files of a section, and return its commands."""
    (section,) = [part for part in re.split(r"^## ", PAGE, flags=re.MULTILINE) if part.startswith(f"{title}:")]
    for language, text in BLOCK.findall(section):
        if language != "bash":
            path = checkout.folder / re.match(r"# ([\w./]+)\n", text)[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return [line for language, text in BLOCK.findall(section) if language == "bash" for line in text.splitlines()]


def log(session, name, attempt=1):
    return (session / "entries" / name / "attempts" / str(attempt) / "stdout.log").read_text()


def test_a_script_runs_as_many_processes(page):
    (page.folder / "train.py").write_text(TRAIN)
    run, plan = example(page, "torchrun")
    page.run(run)
    session = page.session()
    results = page.results(session)
    assert {name: row["success"] for name, row in results.items()} == {"lr0.1": True, "lr0.01": True}
    lines = log(session, "lr0.1").splitlines()
    assert sorted(lines) == [f"epoch {e} loss {1 / e} rank {r} of 2" for e in (1, 2) for r in (0, 1)]
    page.run(plan)
    without_srun = page.run(plan.replace(" -o slurm.srun.ntasks-per-node=1", ""), code=2)
    assert "set slurm.srun: {ntasks-per-node: 1}" in without_srun.stderr


def test_torchtitan_is_told_by_a_file_that_the_job_writes_and_goes_on_after_a_crash(page):
    (run,) = example(page, "titan")
    plan = run.replace(" run ", " plan ").replace(" --fake", "")
    page.run(plan)
    assert not [*page.folder.rglob("titan.toml")]
    crashing = ["-o backend.environment.CRASH_AT=3", "-o restart.restart_policies='[{mode: crash, implementation: "]
    crashing.append("{class_name: AlwaysRestartPolicy, max_retries: 1}}]'")
    page.run(f"{run} -o project.base_output_dir=crashing {' '.join(crashing)}")
    session = page.session("crashing")
    assert {name: row["attempts"] for name, row in page.results(session).items()} == {"lr0.0008": 2, "lr0.0004": 2}
    entry = session / "entries" / "lr0.0008"
    assert f'dump_folder = "{entry}"' in (entry / "titan.toml").read_text()
    steps = [re.findall(r"step: +(\d+)", log(session, "lr0.0008", attempt)) for attempt in (1, 2)]
    assert steps == [["1", "2"], ["3", "4"]]
    assert json.loads((entry / "results.json").read_text())["resumed_from"] == str(entry / "checkpoint" / "step-2")
    told = json.loads((entry / "attempts" / "2" / "heartbeat.json").read_text())["progress"]
    assert {name: told[name] for name in ("iteration", "tps", "tflops", "mfu")} == {
        "iteration": 4,
        "tps": 6123,
        "tflops": 40.12,
        "mfu": 12.86,
    }


def test_a_script_of_nemo_curator_is_found_by_its_name(page):
    scripts = page.folder / "Curator" / "benchmarking" / "scripts"
    scripts.mkdir(parents=True)
    (scripts / "my_script.py").write_text(BENCHMARK)
    (page.folder / "data").mkdir()
    (page.folder / "data" / "cc_sample.parquet").write_text("")
    page.run("\n".join(example(page, "nemo_curator_script")))
    (row,) = page.results(page.session()).values()
    assert row["success"] and row["metrics"]["rows_per_s"] == 12.5
