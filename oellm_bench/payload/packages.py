"""Say which Python this is and what is installed for it, as one JSON document on stdout."""

from __future__ import annotations

import json
import os
import platform
import sys
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit


def main() -> int:
    """Write the document."""
    document = {"python": _python(), "packages": frozen(), "conda": conda(os.environ.get("CONDA_PREFIX", ""))}
    sys.stdout.write(json.dumps(document) + "\n")
    return 0


def frozen() -> list[str]:
    """Return what is installed, a line each, in the form of `pip freeze`."""
    lines = {}
    for found in metadata.distributions():
        name, version = _name_and_version(found)
        if name and name not in lines:  # the first on sys.path is the one that is imported
            lines[name] = _line(name, version, _origin(found))
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


def _python() -> dict[str, str]:
    release = Path("/etc/os-release")
    try:
        names = [line for line in release.read_text(encoding="utf-8").splitlines() if line.startswith("PRETTY_NAME=")]
    except OSError:
        names = []
    return {
        "executable": sys.executable,
        "version": platform.python_version(),
        "implementation": platform.python_implementation(),
        "prefix": sys.prefix,
        "system": names[0].partition("=")[2].strip('"') if names else platform.platform(),
    }


def _name_and_version(found: metadata.Distribution) -> tuple[str, str]:
    """Return both as they stand at the head of its metadata; to have all of that parsed takes ten times as long."""
    text = found.read_text("METADATA") or found.read_text("PKG-INFO") or ""
    fields = dict(line.partition(": ")[::2] for line in text.partition("\n\n")[0].splitlines())
    return fields.get("Name", ""), fields.get("Version", "")


def _origin(found: metadata.Distribution) -> dict[str, Any]:
    """Return direct_url.json (PEP 610): where it was installed from, if not from an index."""
    try:
        document = json.loads(found.read_text("direct_url.json") or "{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def _line(name: str, version: str, origin: dict[str, Any]) -> str:
    url = _without_secrets(str(origin.get("url", "")))
    if not url:
        return f"{name}=={version}"
    if (origin.get("dir_info") or {}).get("editable"):
        return f"-e {url}#egg={name}"
    vcs = origin.get("vcs_info") or {}
    if vcs:
        return f"{name} @ {vcs.get('vcs', 'git')}+{url}@{vcs.get('commit_id', '')}"
    return f"{name} @ {url}"


def _without_secrets(url: str) -> str:
    """Return a URL without user, password and conda's /t/TOKEN."""
    parts = urlsplit(url)
    path = parts.path
    if path.startswith("/t/"):
        path = "/" + path[3:].partition("/")[2]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], path, "", ""))
