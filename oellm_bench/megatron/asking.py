"""Ask a checkout of Megatron-LM for its arguments, in a process of its own."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from oellm_bench import shell
from oellm_bench.errors import ConfigError, Problem

TIMEOUT_S = 300.0  # torch from a cold network file system takes a minute or two
MOST_BYTES = 1 << 24  # a table has 120,000
_SHOWN = 300
# Named, not imported: it runs in another interpreter.
PROGRAM = Path(__file__).with_name("parser_dump.py")


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """What runs the checkout's Python: the program, and what stands in front of it, such as a container.

    `script`: the path of a training script, from the checkout, whose own arguments count too; empty for none.
    """

    python: str = "python3"
    prefix: tuple[str, ...] = ()
    script: str = ""


def ask(checkout: Path, interpreter: Interpreter, timeout_s: float) -> list[dict[str, Any]]:
    """Return the rows of a table, as the parser of the checkout has them. Raises ConfigError."""
    mark = f"oellm-bench-{os.urandom(8).hex()}"
    script = str(checkout / interpreter.script) if interpreter.script else ""
    program = PROGRAM.read_text(encoding="utf-8")
    # -B: nothing is written to somebody's checkout.
    argv = (*interpreter.prefix, interpreter.python, "-B", "-c", program, str(checkout), script, mark)
    try:
        done = shell.run_distrusted(argv, timeout_s=timeout_s, most_bytes=MOST_BYTES, cwd=checkout)
    except OSError as err:
        fix = "give the Python of the run, which has torch, by its path"
        raise _refused(f"'{argv[0]}' cannot be started ({err.strerror})", fix) from err
    answer = None if done.flooded else _answer(done.stdout, mark)
    if answer is None:
        raise _refused(*_silence(done, argv[0], timeout_s))
    if "error" in answer:
        raise _told(answer["error"], checkout)
    rows = answer.get("arguments")
    if not isinstance(rows, list) or not rows:
        raise _not_megatron(checkout, "its parser has no arguments")
    return rows


def _answer(output: str, mark: str) -> dict[str, Any] | None:
    """Return the answer, wherever it stands in what else containers and libraries print; None without one."""
    for line in reversed(output.split("\n")):
        _, found, text = line.partition(f"{mark} ")
        if found:
            try:
                document = json.loads(text)
            except (ValueError, RecursionError):
                return None
            is_one = isinstance(document, dict) and isinstance(document.get("error", {}), dict)
            return document if is_one else None
    return None


def _silence(done: shell.Completed, program: str, timeout_s: float) -> tuple[str, str]:
    """Return what to say of a program that has not answered, and what to do."""
    if done.flooded:
        return f"'{program}' printed more than {MOST_BYTES >> 20} MiB and no arguments", "see that it is a Python"
    said = _last_line(done.stderr) or _last_line(done.stdout)
    last = f"; the last it said: {said}" if said else ""
    if done.timed_out:
        return f"no answer from '{program}' in {timeout_s:g} s{last}", "allow it more time, or see what it waits for"
    how = shell.ending(done.returncode or 0)
    return f"'{program}' {how} without naming arguments{last}", "see that it is the Python of the run, or its container"


def _last_line(text: str) -> str:
    return next((line.strip()[:_SHOWN] for line in reversed(text.splitlines()) if line.strip()), "")


def _told(error: Mapping[str, Any], checkout: Path) -> ConfigError:
    """Return the error for what happened in the checkout."""
    message = " ".join(str(error.get("message", "")).split())[:_SHOWN]
    if error.get("known"):
        return _not_megatron(checkout, message)
    python, at = error.get("python", ""), f" at {error['at']}" if error.get("at") else ""
    if error.get("import"):
        wanted = f"'{error['module']}'" if error.get("module") else "a module"
        fix = "give the Python that runs the training, or its container; no module is made up in its place"
        return _refused(f"{python} cannot import {wanted} for Megatron's arguments ({message}){at}", fix)
    what = f"Megatron's own code failed in {python}: {error.get('type')}: {message}{at}"
    return _refused(what, "see that this checkout runs with this Python")


def _refused(what: str, fix: str) -> ConfigError:
    return ConfigError(Problem(what=what, where="python", fix=fix))


def _not_megatron(checkout: Path, why: str) -> ConfigError:
    fix = "give the folder that has `megatron/training/arguments.py` in it"
    return ConfigError(
        Problem(what=f"'{checkout}' is no checkout of Megatron-LM: {why}", where="megatron_path", fix=fix)
    )
