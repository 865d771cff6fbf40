"""What is installed, in the words of `pip freeze` and `conda list --explicit --md5`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from oellm_bench.payload import packages


def distribution(folder: Path, name: str, version: str = "1.0", **origin: Any) -> Path:
    """Make what an installer leaves of a package, and where it had it from (PEP 610)."""
    made = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    made.mkdir(parents=True)
    text = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n\nName: not this\nVersion: 0\n"
    (made / "METADATA").write_text(text)
    if origin:
        (made / "direct_url.json").write_text(json.dumps(origin))
    return made


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder in which packages are looked for."""
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    return tmp_path


VCS = {"vcs": "git", "commit_id": "c0ffee", "requested_revision": "main"}


@pytest.mark.parametrize(
    ("origin", "line"),
    [
        ({}, "demo-x==1.0"),
        ({"url": "https://h/r.git", "vcs_info": VCS}, "demo-x @ git+https://h/r.git@c0ffee"),
        ({"url": "ssh://git@h/r.git", "vcs_info": VCS}, "demo-x @ git+ssh://git@h/r.git@c0ffee"),
        (
            {"url": "https://h/r.git", "vcs_info": VCS, "subdirectory": "a/b"},
            "demo-x @ git+https://h/r.git@c0ffee#subdirectory=a/b",
        ),
        ({"url": "file:///home/t/secret/src", "dir_info": {}}, "demo-x @ file:///home/t/secret/src"),
        (
            {"url": "https://h/a.whl", "archive_info": {"hash": "sha256=00ff"}},
            "demo-x @ https://h/a.whl#sha256=00ff",
        ),
    ],
)
def test_a_line_is_that_of_pip_freeze(site: Path, origin: dict[str, Any], line: str) -> None:
    distribution(site, "demo-x", **origin)
    assert packages.frozen() == [line]
    assert pip_freeze(site) == [line]


def test_an_editable_package_is_named_with_version_and_place(site: Path) -> None:
    distribution(site, "demo", url="file:///src/my%20demo", dir_info={"editable": True})
    assert packages.frozen() == ["# Editable install (demo==1.0)\n-e /src/my demo"]
    assert pip_freeze(site)[-1] == "-e /src/my demo"


def pip_freeze(site: Path) -> list[str]:
    argv = [sys.executable, "-m", "pip", "freeze", "--path", str(site)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "url",
    [
        "https://user:hunter22@h/r.git",
        "https://hunter22@h/r.git",
        "https://git:hunter22@h/r.git",
        "https://h/t/hunter22/r.git",
        "https://h/conda/t/hunter22/r.git",
        "https://h/r.git?token=hunter22#x=hunter22",
        "https://[hunter22/r.git",
    ],
)
def test_what_opens_a_door_is_in_no_line(site: Path, url: str) -> None:
    distribution(site, "plain", url=url)
    distribution(site, "vcs", url=url, vcs_info=VCS)
    distribution(site, "editable", url=url, dir_info={"editable": True})
    record(site, "known", url=f"{url}", md5="0" * 32)
    text = "\n".join([*packages.frozen(), *packages.conda(str(site))])
    assert ("plain" in text and "known" in text) or "r.git" in text
    assert "hunter22" not in text


def test_one_package_that_cannot_be_read_hides_no_other(site: Path) -> None:
    (distribution(site, "binary") / "METADATA").write_bytes(b"Name: \xff\n\n")
    (distribution(site, "odd") / "direct_url.json").write_text('{"url": "https://h", "dir_info": [1]}')
    (distribution(site, "worse") / "direct_url.json").write_bytes(b"\xff")
    (site / "old-2.0.egg-info").write_text("Metadata-Version: 1.0\nName: old\nVersion: 2.0\n")
    distribution(site, "good")
    found = packages.frozen()
    assert {"good==1.0", "old==2.0", "worse==1.0"} <= set(found)


def test_the_package_that_is_imported_is_the_one_that_is_listed(tmp_path: Path, monkeypatch: Any) -> None:
    distribution(tmp_path / "first", "demo", "1.0")
    distribution(tmp_path / "second", "demo", "2.0")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "first"), str(tmp_path / "second")])
    assert packages.frozen() == ["demo==1.0"]


def record(prefix: Path, name: str, **values: Any) -> None:
    (prefix / "conda-meta").mkdir(exist_ok=True)
    (prefix / "conda-meta" / f"{name}.json").write_text(json.dumps({"name": name, **values}))


def test_conda_packages_are_listed_as_conda_does(tmp_path: Path) -> None:
    record(tmp_path, "b-1-0", url="https://conda.anaconda.org/t/tk-123/forge/linux-64/b-1-0.conda", md5="ab" * 16)
    record(tmp_path, "a-1-0", url="https://repo.anaconda.com/pkgs/main/linux-64/a-1-0.tar.bz2")
    record(tmp_path, "local-1-0", url=None, md5="00")
    (tmp_path / "conda-meta" / "history").write_text("==> 2026 <==\n")
    assert packages.conda(str(tmp_path)) == [
        "https://repo.anaconda.com/pkgs/main/linux-64/a-1-0.tar.bz2",
        "https://conda.anaconda.org/forge/linux-64/b-1-0.conda#" + "ab" * 16,
        "# local-1-0: its record cannot be read",
    ]
    assert packages.conda("") == packages.conda(str(tmp_path / "conda-meta")) == []
