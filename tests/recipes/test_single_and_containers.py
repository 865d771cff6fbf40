"""Recipes 1 and 2: one entry by hand, a campaign at once, the same planned and run inside an image."""

from __future__ import annotations

import json
import os
import subprocess

import pytest

from tests.container.real_apptainer import ROOT, ray_image


def test_recipe_1_a_single_job_without_slurm(checkout):
    render, show, execute = checkout.commands(1)
    rendered = checkout.run(render)
    assert "2 entries, 2 jobs" in rendered.stdout
    session = checkout.session()
    assert sorted(path.name for path in (session / "scripts").iterdir()) == ["lr0.0001.sbatch", "lr0.0005.sbatch"]
    shown = checkout.run(show).stdout
    assert "command: python train.py --iterations 3 --lr 0.0001\n" in shown
    assert list((session / "entries").iterdir()) == []
    checkout.run(execute)
    log = (session / "entries" / "lr0.0001" / "attempts" / "1" / "stdout.log").read_text()
    assert log.startswith("iteration 1/3 | lr 0.0001 | loss 2.000\nCheckpoint saved: ")
    assert len(list((session / "entries").glob("*/checkpoints/iter_*.pt"))) == 3


def test_recipe_1_sweep_json_leads_to_the_newest_plan(checkout):
    render, show, _ = checkout.commands(1)
    checkout.run(render)
    checkout.run(f"{render} -o backend.args.iterations=7")
    assert len(checkout.sessions()) == 2
    assert "--iterations 7" in checkout.run(show).stdout


def test_recipe_1_a_sweep_json_of_somebody_elses_is_left_alone(checkout):
    own = checkout.folder / "outputs" / "sweep.json"
    own.parent.mkdir()
    own.write_text("{}")
    checkout.run(checkout.commands(1)[0])
    assert own.read_text() == "{}" and not own.is_symlink()


def test_recipe_2_directly_on_the_embedded_scheduler(checkout):
    done = checkout.run(checkout.commands(2)[0])
    assert "2 of 2 passed" in done.stderr
    assert {row["success"] for row in checkout.results(checkout.session()).values()} == {True}


@pytest.mark.ray
@pytest.mark.xdist_group("slurm")
def test_recipe_2_planned_and_run_inside_an_image(checkout):
    """The image with Megatron is far too large for a test: one with this tool's packages stands under its name."""
    build, plan, run = checkout.commands(2)[1:]
    (checkout.folder / "artifacts").mkdir()
    (checkout.folder / "artifacts" / f"MegatronTraining_{os.uname().machine}.sif").symlink_to(ray_image())
    assert build.split()[0] == "./container/build_container.sh"
    checkout.run(plan)
    base = "scratch/me/oellm-bench"
    session = checkout.session(base)
    planned = json.loads((session / "sweep.json").read_text())["entries"]
    assert len(planned) == 2 and not list((session / "entries").iterdir())
    done = checkout.run(run)
    assert "2 of 2 passed" in done.stderr
    run_inside = checkout.sessions(base)[-1]
    assert {row["success"] for row in checkout.results(run_inside).values()} == {True}
    checkout.wait(lambda: not checkout.processes())


def test_recipe_2_the_build_has_the_backend_and_the_definition_of_the_recipe():
    """Up to the program that builds, which is looked for last."""
    script = ROOT / "container" / "build_container.sh"
    argv = [script, "--backend", "megatron", "--definition", "MegatronTraining", "--output", "artifacts"]
    env = {**os.environ, "APPTAINER": "no-such-program"}
    done = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "build_container: 'no-such-program' is not installed here\n")
