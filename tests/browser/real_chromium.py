"""A real Chromium for tests, installed where it may be."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, sync_playwright

INSTALL_TIMEOUT_S = 600
_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Start a headless browser for the block. Skips where there can be none; under CI=true that is a failure."""
    program = _program() or _installed()
    sandbox = ["--no-sandbox"] if os.getuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=sandbox)
        try:
            yield browser
        finally:
            browser.close()


def _program() -> str | None:
    return next((path for name in _NAMES if (path := shutil.which(name))), None)


def _installed() -> str:
    missing = ""
    if os.getuid() != 0:
        missing = "Chromium is not installed, and installing it needs root"
    elif not shutil.which("apt-get"):
        missing = "Chromium is not installed, and there is no apt-get to install it with"
    if missing and os.environ.get("CI") == "true":
        pytest.fail(f"no real browser: {missing}")
    if missing:
        pytest.skip(f"no real browser here: {missing}")
    with (Path(tempfile.gettempdir()) / "oellm-bench-chromium.lock").open("w") as lock:  # one of several runs installs
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _program():
            _apt("update")
            _apt("install", "-y", "--no-install-recommends", "chromium", "fonts-dejavu-core")
    program = _program()
    assert program is not None
    return program


def _apt(*arguments: str) -> None:
    done = subprocess.run(
        ["apt-get", "-q", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=INSTALL_TIMEOUT_S,
        check=False,
    )
    if done.returncode != 0:
        raise AssertionError(f"apt-get {arguments}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
