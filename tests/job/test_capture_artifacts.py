"""What is recorded of the environment of an attempt: packages, machine, image, source."""

from __future__ import annotations

import json
import os
import platform
import shlex
import shutil
import socket
import struct
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from live_job import Job, wait_for

from oellm_bench.core.capture import Capture


@pytest.fixture
def venv(tmp_path: Path) -> Path:
    """An environment of its own, in which one package is installed."""
    folder = tmp_path / "a venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
    [site] = folder.glob("lib/python*/site-packages")
    install(site, "demo-of-the-venv", "1.2.3")
    return folder


def install(site: Path, name: str, version: str) -> None:
    made = site / f"{name.replace('-', '_')}-{version}.dist-info"
    made.mkdir(parents=True)
    (made / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


def test_the_commands_own_python_tells_what_is_installed(job: Job, venv: Path, tmp_path: Path) -> None:
    install(tmp_path / "path", "demo-on-the-path", "4.5")
    job.plan(str(venv / "bin" / "python"), "-c", "pass", environment={"PYTHONPATH": str(tmp_path / "path")})
    assert job.run().returncode == 0
    assert job.artifact("pip-freeze.txt").splitlines() == ["demo-of-the-venv==1.2.3", "demo-on-the-path==4.5"]
    python = job.artifact("python.json")["python"]
    assert (python["prefix"], python["version"]) == (str(venv), platform.python_version())
    assert not (job.folder.artifacts / "conda-explicit.txt").exists()


def test_a_command_that_is_no_python_is_asked_for_the_one_it_would_find(job: Job, venv: Path) -> None:
    path = f"{venv / 'bin'}:{os.environ['PATH']}"
    job.plan("sh", "-c", 'python3 -c "import sys; print(sys.prefix)"', environment={"PATH": path})
    assert job.run().returncode == 0
    assert job.attempt().stdout.read_text().strip() == str(venv)
    assert job.artifact("python.json")["python"]["prefix"] == str(venv)
    assert job.artifact("pip-freeze.txt") == "demo-of-the-venv==1.2.3\n"


def test_conda_packages_are_listed_where_there_are_any(job: Job, tmp_path: Path) -> None:
    record = {"url": "https://conda.anaconda.org/t/tk-SECRET/main/noarch/a-1-0.conda", "md5": "ab" * 16}
    (tmp_path / "conda-meta").mkdir()
    (tmp_path / "conda-meta" / "a-1-0.json").write_text(json.dumps(record))
    job.plan("true", environment={"CONDA_PREFIX": str(tmp_path)})
    assert job.run().returncode == 0
    line = f"https://conda.anaconda.org/main/noarch/a-1-0.conda#{'ab' * 16}"
    assert job.artifact("conda-explicit.txt") == f"@EXPLICIT\n{line}\n"


def test_a_python_that_cannot_be_asked_is_said(job: Job, tmp_path: Path) -> None:
    wrong = tmp_path / "python-that-fails"
    wrong.write_text("#!/bin/sh\n[ $# = 0 ]\n")
    wrong.chmod(0o755)
    job.plan(str(wrong))
    assert job.run().returncode == 0
    assert job.artifact("python.json") == {"error": "there is no Python to be asked"}
    assert not (job.folder.artifacts / "pip-freeze.txt").exists()


def test_a_package_list_that_hangs_ends_with_a_killed_runner(job: Job, tmp_path: Path) -> None:
    hanging = tmp_path / "python-that-hangs"
    hanging.write_text("#!/bin/sh\nexec sleep 600\n")
    hanging.chmod(0o755)
    job.plan(str(hanging))
    process = job.start()
    wait_for(lambda: len(job.processes()) == 4, "runner, observer, command and list")
    process.kill()
    process.communicate(timeout=30)
    wait_for(lambda: not job.processes(), "the end of all of them")


def test_the_machine_and_the_job_are_described_without_secrets(job: Job) -> None:
    secrets = {"SLURM_JWT": "hunter22", "SLURM_SITE_TOKEN": "hunter22", "HF_TOKEN": "hunter22", "MY_KEY": "hunter22"}
    job.plan("true", capture=Capture(packages=False), environment={"API_KEY": "hunter22"})
    git = {"commit": "c0ffee", "branch": "main"}
    (job.session / "session.json").write_text(json.dumps({"git": git}))
    done = job.run(SLURM_JOB_ID="77", SLURM_JOB_PARTITION="long", OMP_NUM_THREADS="3", **secrets)
    assert done.returncode == 0
    found = job.artifact("sys-env.json")
    assert (found["host"], found["kernel"]) == (socket.gethostname(), platform.release())
    assert found["cpu"]["usable"] == len(os.sched_getaffinity(0)) and found["cpu"]["model"]
    assert found["memory_bytes"] == os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert found["slurm"]["SLURM_JOB_ID"] == "77" and found["slurm"]["SLURM_JOB_PARTITION"] == "long"
    assert found["environment"]["OMP_NUM_THREADS"] == "3"
    assert (found["git"], found["container"], found["gpus"]) == (git, None, [])
    assert not {*found["slurm"], *found["environment"]} & secrets.keys()
    for path in job.folder.artifacts.iterdir():
        assert "hunter22" not in path.read_text(), path.name


def image_at(path: Path, head: bytes) -> Path:
    path.write_bytes(head.ljust(4096, b"\0"))
    return path


def described(job: Job, image: Path) -> dict[str, object]:
    job.plan("true", capture=Capture(packages=False), image=str(image))
    assert job.run().returncode == 0
    return dict(job.artifact("sys-env.json")["container"])


def test_an_image_is_told_by_its_id_and_by_what_its_build_wrote(job: Job, tmp_path: Path) -> None:
    made = uuid.uuid4()
    launch = b"#!/usr/bin/env run-singularity\n".ljust(32, b"\0")
    image = image_at(
        tmp_path / "x.sif", launch + struct.pack("<10s3s3s16s", b"SIF_MAGIC\0", b"01\0", b"02\0", made.bytes)
    )
    (tmp_path / "x.sif.json").write_text('{"sha256": "00ff", "built": "2026", "definition": "X.def"}')
    found = described(job, image)
    assert found == {
        "image": str(image),
        "size_bytes": 4096,
        "modified_at": image.stat().st_mtime,
        "sif_id": str(made),
        "sha256": "00ff",
        "built": "2026",
        "definition": "X.def",
    }
    if shutil.which("apptainer"):  # by which the position of the id is what we take it for
        done = subprocess.run(["apptainer", "sif", "header", str(image)], capture_output=True, text=True, timeout=60)
        assert str(made) in done.stdout


def test_an_image_of_another_kind_is_told_by_its_name(job: Job, tmp_path: Path) -> None:
    found = described(job, image_at(tmp_path / "x.sqsh", b"hsqs"))
    assert found["sif_id"] is None and "sha256" not in found
    assert described(job, tmp_path / "registry" / "image:tag") == {"image": str(tmp_path / "registry" / "image:tag")}


def test_what_an_earlier_attempt_recorded_is_kept_with_it(job: Job) -> None:
    job.plan("true", capture=Capture(packages=False))
    assert job.run().returncode == job.run().returncode == 0
    assert json.loads((job.attempt(1).root / "artifacts" / "sys-env.json").read_text())["attempt"] == 1
    assert job.artifact("sys-env.json")["attempt"] == 2


@pytest.fixture
def path(job: Job, tmp_path: Path) -> Path:
    """A folder on the path of the command's Python that has not been changed for a while, with one package."""
    folder = tmp_path / "path"
    install(folder, "demo-one", "1.0")
    os.utime(folder, (1e9, 1e9))
    job.plan(sys.executable, "-c", "pass", environment={"PYTHONPATH": str(folder)})
    return folder


def kept(job: Job) -> Path:
    [found] = (job.session / "installed").iterdir()
    return found


def test_packages_are_listed_once_for_entries_that_run_the_same_python(job: Job, path: Path) -> None:
    assert job.run().returncode == 0
    document = json.loads(kept(job).read_text())
    document["document"]["packages"].append("of-the-first-entry==1")
    kept(job).write_text(json.dumps(document))
    assert job.run().returncode == 0
    assert job.artifact("pip-freeze.txt").splitlines()[-1] == "of-the-first-entry==1"
    assert job.artifact("python.json")["python"]["prefix"] == sys.prefix


def test_a_package_installed_between_two_entries_is_listed(job: Job, path: Path) -> None:
    assert job.run().returncode == 0
    assert kept(job).is_file()
    install(path, "demo-two", "2.0")
    assert job.run().returncode == 0
    assert {"demo-one==1.0", "demo-two==2.0"} <= set(job.artifact("pip-freeze.txt").splitlines())


def test_a_list_of_a_folder_that_has_just_changed_is_not_kept(job: Job, path: Path) -> None:
    install(path, "demo-two", "2.0")
    os.utime(path, (1e11, 1e11))  # what comes next may leave the folder's time as it is
    assert job.run().returncode == 0
    assert "demo-two==2.0" in job.artifact("pip-freeze.txt").splitlines()
    assert not (job.session / "installed").exists()


def test_entries_with_another_path_do_not_share_a_list(job: Job, path: Path, tmp_path: Path) -> None:
    assert job.run().returncode == 0
    install(tmp_path / "other", "demo-other", "3.0")
    job.plan(sys.executable, "-c", "pass", environment={"PYTHONPATH": str(tmp_path / "other")})
    assert job.run().returncode == 0
    lines = job.artifact("pip-freeze.txt").splitlines()
    assert "demo-other==3.0" in lines and "demo-one==1.0" not in lines


@pytest.mark.parametrize("content", ["", "{", "[]", '{"document": {"watched": 3}}'])
def test_a_kept_list_that_makes_no_sense_is_not_used(job: Job, path: Path, content: str) -> None:
    assert job.run().returncode == 0
    kept(job).write_text(content)
    assert job.run().returncode == 0
    assert "demo-one==1.0" in job.artifact("pip-freeze.txt").splitlines()


def test_a_list_behind_a_script_in_place_of_a_python_is_not_kept(job: Job, tmp_path: Path) -> None:
    shim = tmp_path / "python-of-a-version-manager"
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    shim.chmod(0o755)
    job.plan(str(shim), "-c", "pass")
    assert job.run().returncode == 0
    assert job.artifact("python.json")["python"]["prefix"] == sys.prefix
    assert not (job.session / "installed").exists()
