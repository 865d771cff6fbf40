"""What a sink needs of this machine, looked for without importing anything heavy and without the network."""

from __future__ import annotations

import contextlib
import importlib.util
import os

from oellm_bench.errors import Problem


def unset(variable: str, where: str) -> list[Problem]:
    """Return that a variable of that name is not set; an empty name needs none."""
    if not variable or os.environ.get(variable, "").strip():
        return []
    return [Problem(what=f"environment variable {variable} is not set", where=where, fix=f"export {variable}")]


def not_installed(module: str, extra: str) -> list[Problem]:
    """Return that a module is not there, and which extra of this package brings it."""
    with contextlib.suppress(ModuleNotFoundError):  # of the package that it is in
        if importlib.util.find_spec(module) is not None:
            return []
    fix = f"pip install 'oellm-bench[{extra}]'"
    return [Problem(what=f"the package {module} is not installed", where="class_name", fix=fix)]
