"""Say which Python this is and what is installed for it, as one JSON document on stdout."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

_HERE, _RELEASE = Path(__file__).resolve().parent, Path("/etc/os-release")
_CONDA_TOKEN = re.compile("/t/[^/]*(?=/)")


def main() -> int:
    """Write the document."""
    # The environment of this Python, activated or not; else the active one, whose Python this need not be.
    prefix = sys.prefix if Path(sys.prefix, "conda-meta").is_dir() else os.environ.get("CONDA_PREFIX", "")
    read_from = {"read_at_ns": time.time_ns(), "watched": _watched(prefix)}  # first: what changes from here on is new
    document = {"python": _python(), "packages": frozen(), "conda": conda(prefix), **read_from}
    sys.stdout.write(json.dumps(document) + "\n")
    return 0


def frozen() -> list[str]:
    """Return what is installed, a line each, in the form of `pip freeze`."""
    lines = {}
    for record in _records():
        name, version = _name_and_version(record)
        if name and name not in lines:  # the first on sys.path is the one that is imported
            try:
                lines[name] = _line(name, version, _origin(record))
            except (AttributeError, TypeError, ValueError):  # no origin that anybody could make sense of
                lines[name] = f"{name}=={version}"
    return [lines[name] for name in sorted(lines, key=str.lower)]


def conda(prefix: str) -> list[str]:
    """Return what conda has installed in an environment, in the form of `conda list --explicit --md5`.

    Read from its records: conda itself takes seconds to start.
    """
    lines = []
    for record in sorted(Path(prefix, "conda-meta").glob("*.json")) if prefix else ():
        try:
            values = json.loads(record.read_text(encoding="utf-8"))
            lines.append(f"{_without_secrets(values['url'])}#{values.get('md5', '')}".rstrip("#"))
        except (OSError, ValueError, KeyError, TypeError):
            lines.append(f"# {record.stem}: its record cannot be read")
    return lines


def _watched(conda_prefix: str) -> dict[str, list[int] | None]:
    """Return what this is read from, with time of change (ns) and inode; None for what is not there yet.

    Whatever is installed, upgraded or removed changes the folder it is recorded in. Files named *.pth add folders.
    """
    folders = [Path(entry or ".").absolute() for entry in sys.path if entry != str(_HERE)]
    user_site = getattr(sys.modules.get("site"), "USER_SITE", None)  # on sys.path only once it is there
    files = [path for folder in folders for path in folder.glob("*.pth")]
    settings = [Path(sys.executable).resolve(), Path(sys.prefix, "pyvenv.cfg"), _RELEASE]
    found: dict[str, list[int] | None] = {}
    for path in (
        *folders,
        *files,
        *settings,
        Path(conda_prefix or sys.prefix, "conda-meta"),
        *([Path(user_site)] if user_site else []),
    ):
        try:
            status = path.stat()
            found[str(path.absolute())] = [status.st_mtime_ns, status.st_ino]
        except OSError:
            found[str(path.absolute())] = None
    return found


def _python() -> dict[str, str]:
    try:
        names = [line for line in _RELEASE.read_text(encoding="utf-8").splitlines() if line.startswith("PRETTY_NAME=")]
    except OSError:
        names = []
    return {
        "executable": sys.executable,
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "prefix": sys.prefix,
        "system": names[0].partition("=")[2].strip('"') if names else platform.platform(),
    }


def _records() -> Iterator[Path]:
    """Yield where each distribution on sys.path is recorded.

    Source: "Recording installed projects" of the packaging specifications. `importlib.metadata` finds the same; to
    import it takes longer, and more memory, than all of this.
    """
    for entry in sys.path:
        try:
            names = sorted(os.listdir(entry or "."))  # noqa: PTH208 - thousands of Path objects would be waste
        except OSError:  # not there, or a zip archive
            continue
        for name in names:
            if name.endswith((".dist-info", ".egg-info")):
                yield Path(entry, name)


def _name_and_version(record: Path) -> tuple[str, str]:
    """Return both as they stand at the head of its metadata, empty where that cannot be read."""
    # The last: distutils left a file where others leave a folder.
    text = _text(record / "METADATA") or _text(record / "PKG-INFO") or _text(record)
    fields = dict(line.partition(": ")[::2] for line in text.partition("\n\n")[0].splitlines())
    return fields.get("Name", ""), fields.get("Version", "")


def _origin(record: Path) -> dict[str, Any]:
    """Return direct_url.json (PEP 610): where it was installed from, if not from an index. Raises ValueError."""
    document = json.loads(_text(record / "direct_url.json") or "{}")
    return document if isinstance(document, dict) else {}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return ""


def _line(name: str, version: str, origin: dict[str, Any]) -> str:
    url = _without_secrets(str(origin.get("url", "")))
    if not url:
        return f"{name}=={version}"
    if (origin.get("dir_info") or {}).get("editable"):
        place = unquote(url[len("file://") :]) if url.startswith("file:///") else url
        return f"# Editable install ({name}=={version})\n-e {place}"
    vcs = origin.get("vcs_info") or {}
    if vcs:
        url = f"{vcs.get('vcs', 'git')}+{url}@{vcs.get('commit_id', '')}"
    digest, folder = (origin.get("archive_info") or {}).get("hash"), origin.get("subdirectory")
    fragments = [*([digest] if digest else []), *([f"subdirectory={folder}"] if folder else [])]
    return f"{name} @ {url}" + (f"#{'&'.join(fragments)}" if fragments else "")


def _without_secrets(url: str) -> str:
    """Return a URL without user (but git's own, who is everybody), password and conda's /t/TOKEN.

    Raises ValueError where it is none.
    """
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    path = parts.path if parts.scheme == "file" else _CONDA_TOKEN.sub("", parts.path)
    return urlunsplit((parts.scheme, f"git@{host}" if user == "git" else host, path, "", ""))


if __name__ == "__main__":  # where nothing stands between the interpreter and this file
    sys.exit(main())
