"""The arguments of the user's own Megatron-LM: its parser is asked once for each state of the checkout."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from oellm_bench.errors import ConfigError, Problem, StateError
from oellm_bench.fileio import WriteError, atomic_write_text, file_lock, quarantine
from oellm_bench.megatron.asking import PROGRAM, TIMEOUT_S, Interpreter, ask
from oellm_bench.megatron.fingerprint import checksum, described, fingerprint
from oellm_bench.megatron.table import Argument, Table, read_table, table_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Difference:
    """What a table has that another one has not: names of values, sorted."""

    new: tuple[str, ...]
    gone: tuple[str, ...]
    changed: tuple[str, ...]


def table_for(
    checkout: Path, interpreter: Interpreter | None = None, *, fresh: bool = False, timeout_s: float = TIMEOUT_S
) -> Table:
    """Return the arguments of a checkout; `fresh` asks even where the answer is known.

    Two that want the same at once ask once. Raises ConfigError where the checkout cannot be asked (`where` is
    `megatron_path`, `script` or `python`), StateError where its answer is no table.
    """
    checkout = Path(os.path.abspath(checkout))  # noqa: PTH100 links stay: inside a container they are called the same
    interpreter = _located(interpreter or Interpreter())
    _check(checkout, interpreter.script)
    state = fingerprint(checkout)
    path = cache_folder() / f"{_key(checkout, state, interpreter)}.json"
    if not fresh:
        with contextlib.suppress(StateError):
            return read_table(path)
    with _held(path.with_suffix(".lock")) as is_held:
        kept = _kept(path) if is_held and not fresh else None
        if kept is not None:
            return kept
        document = {"source": f"{described(checkout, state)}, read from its own argument parser"}
        table = table_of({**document, "arguments": ask(checkout, interpreter, timeout_s)}, f"what '{checkout}' says")
        # Else it was changed in between.
        if is_held and path.stem == _key(checkout, fingerprint(checkout), interpreter):
            _keep(path, table)
    return table


def is_checkout(folder: Path) -> bool:
    """Tell whether a folder has the parser of Megatron-LM in it, where this or an older version has it."""
    return any((folder / "megatron" / name).is_file() for name in ("training/arguments.py", "arguments.py"))


def cache_folder() -> Path:
    """Return the folder of tables that were asked for; it need not be there."""
    # XDG Base Directory Specification: what can be made anew.
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(home) / "oellm-bench" / "megatron"


def table_text(table: Table) -> str:
    """Return the file that `read_table` reads, an argument a line."""
    lines = ",\n".join(f"  {json.dumps(_row(argument))}" for argument in table.arguments)
    head = f' "source": {json.dumps(table.source)},\n "count": {len(table.arguments)},\n'
    return f'{{\n{head} "arguments": [\n{lines}\n ]\n}}\n'


def difference(table: Table, other: Table) -> Difference:
    """Return what `table` has and `other` has not, by the names of values."""
    ours, theirs = table.by_dest, other.by_dest
    return Difference(
        new=tuple(sorted(ours.keys() - theirs.keys())),
        gone=tuple(sorted(theirs.keys() - ours.keys())),
        changed=tuple(sorted(name for name in ours.keys() & theirs.keys() if ours[name] != theirs[name])),
    )


def _located(interpreter: Interpreter) -> Interpreter:
    """Return it with the path of its Python, unless that is inside a container."""
    found = None if interpreter.prefix else shutil.which(interpreter.python)
    # Links stay: a virtual environment's Python is one.
    return replace(interpreter, python=os.path.abspath(found)) if found else interpreter  # noqa: PTH100


def _check(checkout: Path, script: str) -> None:
    """Refuse what is no checkout before anything is started."""
    if not checkout.is_dir():
        fix = "give the folder of a Megatron-LM checkout"
        raise ConfigError(Problem(what=f"there is no folder '{checkout}'", where="megatron_path", fix=fix))
    if not is_checkout(checkout):
        fix = "give the folder that has `megatron/training/arguments.py` in it"
        what = f"'{checkout}' is no checkout of Megatron-LM"
        raise ConfigError(Problem(what=what, where="megatron_path", fix=fix))
    if script and not (checkout / script).is_file():
        what = f"there is no '{script}' in '{checkout}'"
        raise ConfigError(Problem(what=what, where="script", fix="give its path, or that from there"))


def _key(checkout: Path, state: str, interpreter: Interpreter) -> str:
    """Return what names an answer: whatever might make it another one is in it."""
    # The script need not be in the checkout.
    script = checksum(Path("/"), [checkout / interpreter.script]) if interpreter.script else ""
    program = hashlib.sha256(PROGRAM.read_bytes()).hexdigest()
    whom = [interpreter.python, *interpreter.prefix, "", script, os.environ.get("PYTHONPATH", "")]
    return hashlib.sha256(json.dumps([program, state, *whom]).encode()).hexdigest()[:32]


@contextlib.contextmanager
def _held(path: Path) -> Iterator[bool]:
    """Hold a lock where there can be one; without it nothing is remembered."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(file_lock(path))
        except WriteError as err:
            _log.warning("the arguments of the checkout are not remembered: %s", err)
            yield False
            return
        yield True


def _kept(path: Path) -> Table | None:
    """Return what is remembered; what cannot be read is put aside."""
    if not path.exists():
        return None
    try:
        return read_table(path)
    except StateError as err:
        _log.warning("%s; it is now %s, and the checkout is asked anew", err, quarantine(path).name)
        return None


def _keep(path: Path, table: Table) -> None:
    try:
        atomic_write_text(path, table_text(table))
    except WriteError as err:
        _log.warning("the arguments of the checkout are not remembered: %s", err)


def _row(argument: Argument) -> dict[str, Any]:
    """Return an argument as it stands in a file: what it has not is not there, but for its default."""
    given = {
        "type": argument.type or None,
        "nargs": argument.nargs,
        "choices": list(argument.choices) or None,
        "const": argument.const,
    }
    present = {name: value for name, value in given.items() if value is not None}
    head = {"dest": argument.dest, "flags": list(argument.flags), "action": argument.action}
    return {**head, **present, "default": argument.default}
