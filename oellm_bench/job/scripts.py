"""What tells a benchmark's script from the same with a change."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable
from pathlib import Path

_LARGEST_SCRIPT, _ELF_MAGIC = 1 << 20, b"\x7fELF"


def script_checksums(argv: Iterable[str], cwd: Path, entry_dir: Path) -> dict[str, str]:
    """Return the SHA-256 of each script that a command names, by path: files below 1 MiB that are no programs.

    Files in the entry's own folder are left out: those are made anew by each attempt.
    """
    found: dict[str, str] = {}
    for argument in argv:
        with contextlib.suppress(OSError, ValueError):  # an argument may be any text
            path = Path(cwd, argument).resolve()
            if path.is_relative_to(entry_dir.resolve()):
                continue
            if path.is_file() and path.stat().st_size < _LARGEST_SCRIPT:
                content = path.read_bytes()
                if not content.startswith(_ELF_MAGIC):
                    found[str(path)] = hashlib.sha256(content).hexdigest()
    return found
