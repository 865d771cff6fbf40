"""Imports go down only, there is no cycle, and what runs inside a job stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "oellm_bench"

# The first prefix that fits counts. A module may import from its own floor and from those below.
FLOORS = (
    ("oellm_bench.cli", 6),
    ("oellm_bench.__main__", 6),
    ("oellm_bench.builtins", 4),
    ("oellm_bench.simulation.settings", 3),
    ("oellm_bench.config", 4),
    ("oellm_bench.matrix", 4),
    *(
        (f"oellm_bench.{kind}.base", 2)
        for kind in ("actions", "backends", "conditions", "launchers", "restart", "schedulers", "sinks")
    ),
    *(
        (f"oellm_bench.{name}", 3)
        for name in (
            "leaks actions backends conditions launchers megatron monitoring naming rendering restart results "
            "schedulers sinks state".split()
        )
    ),
    ("oellm_bench.core", 1),
    *(
        (f"oellm_bench.{name}", 0)
        for name in "errors clock units fileio shell log matching placeholders proctree payload".split()
    ),
    *(
        (f"oellm_bench.{name}", 5)
        for name in (
            "assemble book cancelling checking comparison deciding delivery filling following gates history "
            "identifying job judging monitor observer ordering outbox planning report_writing reporting requeueing "
            "run_entry scripting session session_writing shared_ray simulation sink_channel sink_process sink_results "
            "sink_worker stages stalls submission triggers view watch".split()
        )
    ),
)


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def floor(module: str) -> int:
    for prefix, number in FLOORS:
        if module == prefix or module.startswith(f"{prefix}."):
            return number
    raise AssertionError(f"{module} has no floor: give it one in FLOORS")


@cache
def imports(module: str) -> tuple[str, ...]:
    found = []
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            found += [name if name in MODULES else node.module for name in whole]
    return tuple(name for name in dict.fromkeys(found) if name in MODULES and name != "oellm_bench")


@pytest.mark.parametrize("module", [name for name in MODULES if name != "oellm_bench"])
def test_imports_go_down_only(module):
    upward = [name for name in imports(module) if floor(name) > floor(module)]
    assert upward == []


def test_no_import_cycle():
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for name in imports(module):
                visit(name, (*path, module))
            done.add(module)

    for module in MODULES:
        visit(module, ())


@pytest.mark.parametrize("module", list(MODULES))
def test_own_modules_are_imported_at_the_top(module):
    tree = ast.parse(MODULES[module].read_text())
    inner = [
        node.lineno
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("oellm_bench")
    ]
    assert inner == []


def closure(module: str) -> set[str]:
    reached: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += imports(name)
    return reached


@pytest.mark.parametrize("program", ["oellm_bench.run_entry", "oellm_bench.actions.wrapper"])
def test_programs_in_a_job_reach_no_configuration_and_no_sink(program):
    assert [name for name in closure(program) if ".config" in name or ".sinks" in name or ".cli" in name] == []


HEAVY = ("hydra", "omegaconf", "compoconf", "ray", "rich", "psutil", "yaml", "mlflow")


@pytest.mark.parametrize(
    "program",
    [
        "oellm_bench.run_entry",
        "oellm_bench.cli.main",
        "oellm_bench.cli.in_image",
        "oellm_bench.schedulers.embedded.controller",
    ],
)
def test_light_programs_import_only_the_standard_library(program):
    code = f"import sys, {program}; print(*sorted({{m.split('.')[0] for m in sys.modules}} & set({HEAVY!r})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("module", list(MODULES))
def test_files_and_functions_stay_short(module):
    text = MODULES[module].read_text()
    assert len(text.splitlines()) <= 300
    long = [
        node.name
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno + 1 > 50
    ]
    assert long == []
