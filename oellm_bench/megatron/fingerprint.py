"""Tell one state of a checkout of Megatron-LM from another, by its commit where git knows it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from oellm_bench import shell
from oellm_bench.fileio import open_file

# What a parser is made of: the packages, and the modules beside the scripts that train.
_PATTERNS = ("megatron/**/*.py", "*.py")
_MAIN = ("megatron/training/arguments.py", "megatron/arguments.py")
_TIMEOUT_S = 60.0
_COMMIT = "# branch.oid "


class _NotByCommit(Exception):
    """Git does not know this folder, or not all of it."""


def fingerprint(checkout: Path) -> str:
    """Return what changes with the Python files of a checkout: `COMMIT`, `COMMIT+CHANGES` or `files-CHECKSUM`."""
    try:
        return _by_commit(checkout)
    except _NotByCommit:
        files = sorted({path for pattern in _PATTERNS for path in checkout.glob(pattern)})
        return f"files-{checksum(checkout, files)}"


def described(checkout: Path, state: str) -> str:
    """Return a fingerprint in words: which Megatron-LM it is, with the day of its commit."""
    if state.startswith("files-"):
        return f"Megatron-LM without a commit, files {state[6:16]}"
    commit, _, changes = state.partition("+")
    try:
        done = _git(checkout, "show", "--no-patch", "--format=%cs", commit)
    except _NotByCommit:
        return f"Megatron-LM {commit[:10]}"
    return f"Megatron-LM {commit[:10]} ({done.strip()}){f' with changes {changes[:10]}' if changes else ''}"


def checksum(top: Path, files: Iterable[Path]) -> str:
    """Return a checksum of names and contents; one that cannot be read counts by its name."""
    found = hashlib.sha256()
    for path in files:
        try:
            with open_file(path) as stream:
                content = hashlib.sha256(stream.read()).digest()
        except OSError:
            content = b""
        found.update(os.fsencode(path.relative_to(top)) + b"\0" + content + b"\0")
    return found.hexdigest()


def _by_commit(checkout: Path) -> str:
    """Ask git once; a second time where something has been changed."""
    wanted = [f":(glob){pattern}" for pattern in _PATTERNS]
    flags = ("--porcelain=v2", "--branch", "-z", "--no-renames", "--untracked-files=all", "--ignored=traditional")
    lines = _git(checkout, "status", *flags, "--", *wanted).split("\0")
    commit = next((line[len(_COMMIT) :] for line in lines if line.startswith(_COMMIT)), "(initial)")
    changed = [_path(line) for line in lines if line and not line.startswith("#")]
    unknown = [line for line in lines if line[:1] in ("?", "!")]
    # Its main file is not tracked: that is a checkout in somebody else's repository.
    if commit == "(initial)" or any(line.endswith(("/", *_MAIN)) for line in unknown):
        raise _NotByCommit
    if not changed:
        return commit
    top = Path(_git(checkout, "rev-parse", "--show-toplevel").rstrip("\n"))
    return f"{commit}+{checksum(top, sorted(top / path for path in changed))}"


def _path(line: str) -> str:
    """Return the path in an entry. Source: "Porcelain Format Version 2" in git-status(1)."""
    fields = {"1": 8, "u": 10}.get(line[:1], 1)
    return line.split(" ", fields)[-1]


def _git(checkout: Path, *arguments: str) -> str:
    # Without optional locks: a look is not to stand in the way of the user's own git.
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}
    try:
        done = shell.run(("git", "-C", str(checkout), *arguments), timeout_s=_TIMEOUT_S, environment=environment)
    except OSError as err:
        raise _NotByCommit from err
    if done.returncode != 0:
        raise _NotByCommit
    return done.stdout
