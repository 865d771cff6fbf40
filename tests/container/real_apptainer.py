"""A real Apptainer and a real image with Ray for tests, where they can be had."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
INSTALL = Path(__file__).parent / "install-runtime.sh"
BUILD = ROOT / "container" / "build_container.sh"
IMAGES = ROOT / ".cache" / "images"
INSTALL_TIMEOUT_S, BUILD_TIMEOUT_S = 600, 1200


def ray_image() -> Path:
    """Return an image with Ray, built by this project's own script; kept until its definition changes.

    Skips where there is no Apptainer and none can be installed; under CI=true that is a failure.
    """
    _need_apptainer()
    definition = ROOT / "container" / "ray-cpu"
    parts = [path.read_bytes() for path in (*sorted(definition.iterdir()), BUILD)]
    folder = IMAGES / hashlib.sha256(b"".join(parts)).hexdigest()[:16]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:  # of several runs of the tests in one checkout, one builds
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not list(folder.glob("*.sif.json")):
            _run([str(BUILD), "--backend", "ray-cpu", "--output", str(folder)], BUILD_TIMEOUT_S)
            for old in IMAGES.iterdir():
                if old != folder:
                    shutil.rmtree(old, ignore_errors=True)
        [image] = folder.glob("*.sif")
    return image


def _need_apptainer() -> None:
    missing = ""
    if os.getuid() != 0 and not shutil.which("apptainer"):
        missing = "Apptainer is not installed, and installing it needs root"
    elif not shutil.which("apptainer") and not shutil.which("apt-get"):
        missing = "Apptainer is not installed, and there is no apt-get to install it with"
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"no real Apptainer: {missing}")
    if missing:
        pytest.skip(f"no real Apptainer here: {missing}")
    if os.getuid() == 0:
        _run(["bash", str(INSTALL)], INSTALL_TIMEOUT_S)


def _run(argv: list[str], timeout_s: float) -> None:
    done = subprocess.run(
        argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    if done.returncode != 0:
        raise AssertionError(f"{argv}: {done.stdout[-2000:]}{done.stderr[-4000:]}")
