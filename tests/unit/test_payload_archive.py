"""The payload's archive, made of whatever files an installation has."""

from __future__ import annotations

import os
import subprocess
import sys

from oellm_bench.job import archive


def test_files_from_before_1980_can_be_packed(tmp_path, monkeypatch):
    """Images that are built reproducibly, Nix and Guix date all files to 1970, which a zip archive cannot hold."""
    package = tmp_path / "payload"
    package.mkdir()
    for source in archive._PACKAGE.glob("*.py"):
        target = package / source.name
        target.write_bytes(source.read_bytes())
        os.utime(target, (0, 0))
    monkeypatch.setattr(archive, "_PACKAGE", package)
    archive.write_archive(tmp_path / "payload.pyz")
    done = subprocess.run([sys.executable, tmp_path / "payload.pyz", "packages"], capture_output=True, check=False)
    assert done.returncode == 0
