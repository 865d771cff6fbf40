"""Say which arguments a checkout of Megatron-LM has, as its own parser tells it: one line of JSON on stdout.

Stands alone, for any Python from 3.8 on: its text is run with `python -c` by the interpreter of a run, or in its
container, where there is nothing of this package.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import json
import math
import os
import runpy
import sys
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any, NoReturn

# The second one: releases before 2024.
_MODULES = ("megatron.training.arguments", "megatron.arguments")

# Functions of Megatron-LM that are told of `extra_args_provider`, and go on to train.
_BEGINNINGS = ("pretrain", "initialize_megatron")

_ACTIONS = {
    argparse._StoreAction: "store",
    argparse._StoreTrueAction: "store_true",
    argparse._StoreFalseAction: "store_false",
    argparse._StoreConstAction: "store_const",
    argparse._AppendAction: "append",
    argparse._AppendConstAction: "append_const",
    argparse._CountAction: "count",
    getattr(argparse, "_ExtendAction", None): "extend",
    getattr(argparse, "BooleanOptionalAction", None): "boolean_optional",
}
_OF_ARGPARSE = (argparse._HelpAction, argparse._VersionAction)


class _Reached(BaseException):
    """The parser is about to read a command line; no `except Exception` on the way is to swallow it."""

    def __init__(self, parser: argparse.ArgumentParser) -> None:
        super().__init__()
        self.parser = parser


class _Pretrain(BaseException):
    """A script is about to train; `provider` adds arguments of its own."""

    def __init__(self, provider: Any) -> None:
        super().__init__()
        self.provider = provider


class NoArguments(Exception):
    """What the checkout has is no Megatron-LM that is known here."""


def main(checkout: str, script: str, mark: str) -> NoReturn:
    """Write `mark {"arguments": [...]}`, or `{"error": {...}}`, and end; `script` may be empty.

    Whatever else is printed goes to stderr.
    """
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    folders = [os.path.dirname(script), checkout] if script else [checkout]  # noqa: PTH120 as Python itself does
    sys.path[:] = [*folders, *(path for path in sys.path if path)]
    sys.argv[:] = [script or "pretrain_gpt.py"]
    try:
        answer: dict[str, Any] = {"arguments": rows(megatron_parser(checkout, script))}
    except BaseException as err:
        answer = {"error": _told(err, checkout)}
    answers.write(f"{mark} {json.dumps(answer)}\n")
    answers.flush()
    sys.stderr.flush()
    os._exit(0)  # what was imported may have threads that never end


def megatron_parser(checkout: str, script: str) -> argparse.ArgumentParser:
    """Return the parser, caught where it would read the command line. Raises NoArguments, and what imports raise."""
    arguments = _arguments_module(checkout)
    # parse_known_args stays: before they train, scripts take a first look at the command line with it.
    argparse.ArgumentParser.parse_args = _reach  # type: ignore[method-assign,assignment]
    try:
        provider = _provider(script) if script else None
        if hasattr(arguments, "parse_args"):
            arguments.parse_args(extra_args_provider=provider)
        elif hasattr(arguments, "add_megatron_arguments"):
            parser = argparse.ArgumentParser(allow_abbrev=False)
            parser = arguments.add_megatron_arguments(parser) or parser
            return (provider(parser) or parser) if provider else parser
    except _Reached as reached:
        return reached.parser
    raise NoArguments(f"{arguments.__name__} makes no parser in a way that is known here")


def rows(parser: argparse.ArgumentParser) -> list[dict[str, Any]]:
    """Return the options of a parser, by name. What has no flag has no place in a command that is made of flags."""
    options = [a for a in parser._actions if a.option_strings and not isinstance(a, _OF_ARGPARSE)]
    return sorted(map(_row, options), key=lambda row: (row["dest"], row["flags"]))


def _arguments_module(checkout: str) -> ModuleType:
    for name in _MODULES:
        if os.path.exists(os.path.join(checkout, *name.split(".")) + ".py"):  # noqa: PTH110, PTH118
            module = importlib.import_module(name)
            found = os.path.realpath(module.__file__ or "")
            if not found.startswith(os.path.join(os.path.realpath(checkout), "")):  # noqa: PTH118
                raise NoArguments(f"{name} comes from {found}, which hides the one of the checkout")
            return module
    raise NoArguments(f"there is no {' and no '.join(name.replace('.', '/') + '.py' for name in _MODULES)}")


def _provider(script: str) -> Any:
    """Return what the script adds arguments with, None for nothing. A script that parses by itself raises _Reached."""
    importlib.import_module("megatron.training")
    _stop_before_training()
    try:
        runpy.run_path(script, run_name="__main__")
    except _Pretrain as reached:
        return reached.provider
    raise NoArguments(f"{script} ended without a call of megatron.training.pretrain")


def _stop_before_training() -> None:
    """Replace what begins a training, in every module that has it: a script may take it from any of them."""
    modules = [module for name, module in sys.modules.items() if name.partition(".")[0] == "megatron"]
    for module in modules:
        for name in _BEGINNINGS:
            if inspect.isfunction(vars(module).get(name)):
                setattr(module, name, _stopping(vars(module)[name]))


def _stopping(beginning: Callable[..., Any]) -> Callable[..., NoReturn]:
    signature = inspect.signature(beginning)

    def stopped(*args: Any, **options: Any) -> NoReturn:
        raise _Pretrain(signature.bind_partial(*args, **options).arguments.get("extra_args_provider"))

    return stopped


def _reach(parser: argparse.ArgumentParser, *_: Any, **__: Any) -> NoReturn:
    raise _Reached(parser)


def _row(action: argparse.Action) -> dict[str, Any]:
    kind = _ACTIONS.get(type(action), type(action).__name__)
    row: dict[str, Any] = {"dest": action.dest, "flags": list(action.option_strings), "action": kind}
    if action.type is not None:
        row["type"] = getattr(action.type, "__name__", None) or str(action.type)
    if action.nargs not in (None, 0):
        row["nargs"] = action.nargs
    if action.choices is not None:
        is_set = isinstance(action.choices, (set, frozenset))
        row["choices"] = _plain(action.choices if is_set else list(action.choices))
    if action.const is not None and kind != "store_false":
        row["const"] = _plain(action.const)
    row["default"] = _plain(action.default)
    return row


def _plain(value: Any) -> Any:
    """Return a value as JSON has it, as text where it has no such thing."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted(map(_plain, value), key=str)
    return str(value)


def _told(err: BaseException, checkout: str) -> dict[str, Any]:
    frames = [f for f in traceback.extract_tb(err.__traceback__) if f.filename.startswith(os.path.join(checkout, ""))]  # noqa: PTH118
    return {
        "import": isinstance(err, ImportError),
        "module": getattr(err, "name", None) or "",
        "type": type(err).__name__,
        "message": str(err),
        "known": isinstance(err, NoArguments),
        "at": f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "",
        "python": f"Python {sys.version.split()[0]}, {sys.executable}",
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
