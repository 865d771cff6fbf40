"""The command line that plans inside an image, and what is said where that cannot be done."""

from __future__ import annotations

import csv
import itertools
import os
import shlex
import stat
import sys
import tomllib
from pathlib import Path

import pytest

from oellm_bench.cli.in_image import PACKAGES

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = str(ROOT / "scripts" / "run_megatron_container.py")


@pytest.fixture
def container(campaign, cli):
    """Run the script over a campaign."""
    campaign.root(f"project: {{name: my, base_output_dir: {str(campaign.out)!r}}}\n")

    def run(*arguments, env=None):
        return cli.python(SCRIPT, "--config-ref", "my", "-C", str(campaign.folder), *arguments, env=env)

    return run


def shown(done):
    """Return the variables, the mounts and the command inside of a line that --print showed."""
    assert done.rc == 0, done.stderr
    words = shlex.split(done.stdout)
    start = next(number for number, word in enumerate(words) if "=" not in word)
    inside = words.index("python3", start)
    mounts = [text for flag, text in itertools.pairwise(words[start:inside]) if flag == "--mount"]
    return dict(word.split("=", 1) for word in words[:start]), mounts, words[start:inside], words[inside:]


def folder_of(mount):
    (fields,) = csv.reader([mount])
    return fields[1].removeprefix("src=")


def test_a_dry_run_plans_inside_for_the_python_of_this_machine(container, campaign):
    _, _, outer, inner = shown(container("--image", "i.sif", "--dry-run", "-o", "project.timeout_s=60", "--print"))
    assert outer[0] in ("apptainer", "singularity") and outer[-1] == "i.sif"
    assert inner[:5] == ["python3", "-m", "oellm_bench.cli.in_image", "plan", "my"]
    assert inner[5:] == [
        *("-C", str(campaign.folder), "-o", "project.timeout_s=60"),
        *("-o", f"slurm.python='{sys.executable}'"),
    ]


def test_a_python_that_is_configured_is_kept(container):
    *_, inner = shown(container("--image", "i.sif", "-o", "slurm.python=/opt/python", "--print"))
    assert [word for word in inner if "slurm.python" in word] == ["slurm.python=/opt/python"]


@pytest.mark.parametrize("choice", [("--fake-submit",), ("-o", "slurm=fake")])
def test_the_embedded_scheduler_lives_inside_until_its_jobs_have_ended(container, choice):
    *_, inner = shown(container("--image", "i.sif", *choice, "--print"))
    assert inner[3] == "submit" and inner[-1] == "--monitor"
    assert not [word for word in inner if "slurm.python" in word]


def test_slurm_is_submitted_to_where_nothing_else_is_said(container):
    *_, inner = shown(container("--image", "i.sif", "--print"))
    assert inner[3:5] == ["--on-slurm", "submit"] and "--monitor" not in inner and "--fake" not in inner


def test_the_verb_sees_the_same_folders_and_may_write_to_its_outputs(container, campaign, cli):
    state = campaign.out.parent / "state, of mine"
    done = container("--image", "i.sif", "--print", "-o", f"project.state_dir='{state}'")
    variables, mounts, outer, _ = shown(done)
    assert set(variables.values()) == {str(ROOT)} and {name[-10:] for name in variables} == {"PYTHONPATH"}
    assert [mount.endswith(",ro") for mount in mounts] == [True, True, False, False, False]
    assert f'type=bind,"src={state}","dst={state}"' in mounts
    assert [Path(folder_of(mount)) for mount in mounts[:4]] == [ROOT, campaign.folder, cli.cwd, campaign.out]
    assert outer[outer.index("--pwd") + 1] == str(cli.cwd)
    assert not campaign.out.exists()


def test_what_lies_in_the_working_folder_stays_writable(container, campaign, cli):
    cli.cwd = campaign.folder.parent
    _, mounts, *_ = shown(container("--image", "i.sif", "--print", "-o", "project.base_output_dir=results"))
    assert [folder_of(mount) for mount in mounts] == [str(ROOT), str(cli.cwd)]


def test_a_root_file_given_by_its_path_is_seen(campaign, cli):
    campaign.root()
    done = cli.python(SCRIPT, "--config-ref", str(campaign.folder / "my.yaml"), "--image", "i.sif", "--print")
    assert str(campaign.folder) in [folder_of(mount) for mount in shown(done)[1]]


def test_options_for_the_runtime_are_handed_on(container):
    done = container("--image", "i.sif", "--nv", "--bind", "/a:/b:ro", "--program", "singularity", "--print")
    _, mounts, outer, _ = shown(done)
    assert outer[0] == "singularity" and "--nv" in outer and mounts[-1] == "type=bind,src=/a,dst=/b,ro"


def test_a_variable_handed_on_by_name_shows_its_value_nowhere(container):
    done = container("--image", "i.sif", "--env", "HF_TOKEN", "--print", env={"HF_TOKEN": "hf_secret"})
    assert 'APPTAINERENV_HF_TOKEN="$HF_TOKEN"' in done.stdout and "hf_secret" not in done.stdout + done.stderr


@pytest.fixture
def runtime(tmp_path):
    """Return a PATH with an `apptainer` that tells what it was given, and exits with 7."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "apptainer"
    program.write_text('#!/bin/sh\necho "$APPTAINERENV_HF_TOKEN" "$@"\nexit 7\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {"PATH": f"{folder}:{os.environ['PATH']}"}


def test_the_exit_code_is_that_of_the_command_inside(container, campaign, cli, runtime):
    image = cli.cwd / "i.sif"
    image.touch()
    done = container("--image", "i.sif", "--env", "HF_TOKEN", env={**runtime, "HF_TOKEN": "hf_secret"})
    assert done.rc == 7
    assert done.stdout.startswith("hf_secret --quiet exec") and done.stdout.count("hf_secret") == 1
    assert campaign.out.is_dir()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--image: none is given, and OELLM_BENCH_IMAGE is not set; "),
        (("--image", "no.sif"), "--image: 'no.sif' is not there; "),
        (("--image", "docker://i", "--bind", "relative"), "--bind"),
        (("--image", "docker://i", "--env", "NOT_SET_ANYWHERE"), "--env: NOT_SET_ANYWHERE"),
        (("--image", "docker://i", "-o", "slurm.arry=true"), "slurm.arry"),
    ],
)
def test_what_cannot_work_is_one_message(container, runtime, arguments, message):
    done = container(*arguments, env={**runtime, "OELLM_BENCH_IMAGE": ""})
    assert done.rc == 2 and message in done.stderr and done.stderr.count("\n") == 1


def test_a_machine_without_a_runtime_is_told_so(container):
    done = container("--image", "docker://i", env={"PATH": "/nonexistent"})
    assert done.rc == 2
    assert done.stderr.startswith("oellm-bench: --program: apptainer and singularity are not on PATH; ")


def test_a_python_without_the_packages_is_told_so(cli):
    done = cli.python("-S", SCRIPT, "--image", "i.sif")
    assert done.rc == 2 and "lacks hydra-core, omegaconf, " in done.stderr and "make install" in done.stderr


def test_an_image_without_the_packages_is_told_so(cli):
    env = {"PYTHONPATH": str(ROOT), "APPTAINER_CONTAINER": "/i.sif"}
    done = cli.python("-S", "-m", "oellm_bench.cli.in_image", "plan", env=env)
    assert done.rc == 2 and done.stderr.count("\n") == 1
    assert done.stderr.startswith("oellm-bench: image '/i.sif' lacks hydra-core, omegaconf, ")


def test_an_image_without_sbatch_is_told_so(cli):
    done = cli.python("-m", "oellm_bench.cli.in_image", "--on-slurm", "submit", env={"PATH": "/nonexistent"})
    assert done.rc == 4 and "no sbatch in image" in done.stderr and "--fake-submit" in done.stderr


def names(lines):
    return {line.partition(">=")[0] for line in lines}


def test_images_that_plan_have_what_the_package_depends_on():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    beside = {"nvidia-ml-py", "py-spy", "jinja2", "matplotlib", "scipy"}  # only for what is recorded, and told of it
    assert set(PACKAGES) == names(project["dependencies"]) - beside
    for image in ("megatron", "ray-cpu"):
        assert set(PACKAGES) <= names((ROOT / "container" / image / "requirements.txt").read_text().splitlines())
