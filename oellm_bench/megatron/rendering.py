"""Arguments as they stand in YAML, made into flags in Megatron's own spelling; nothing is dropped silently."""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from oellm_bench.errors import Problem, nearest
from oellm_bench.megatron.table import Argument, Table, normalised
from oellm_bench.megatron.values import default_of, truth, typed, words
from oellm_bench.placeholders import names_in

_FLAGS = ("store_true", "store_false", "boolean_optional")
_NOT_OURS = ("help", "version")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What one key says. `value`: as the parser would have it; `argv`: how it is told, nothing where it is the default.

    `open`: there is a `{placeholder}` in it, so that the value is known only when the entry is.
    """

    key: str
    dest: str
    value: Any
    argv: tuple[str, ...]
    open: bool = False


def read_settings(
    table: Table, given: Mapping[str, Any], others: Collection[str] = ()
) -> tuple[dict[str, Setting], list[Problem]]:
    """Return what `given` says by dest, in its order, and what is wrong with it; null says nothing.

    `where` of a problem is the key as it is written. `others`: what may be said as well and is read elsewhere.
    """
    settings: dict[str, Setting] = {}
    problems = []
    for key, value in given.items():
        if value is None and table.find(key) is not None:
            continue
        read = setting_of(table, key, value) if table.find(key) is not None else _unknown(table, key, others)
        if isinstance(read, Problem):
            problems.append(read)
        elif read.dest in settings:
            what = f"'{settings[read.dest].key}' says the same argument"
            problems.append(Problem(what=what, where=key, fix="take one of them out"))
        else:
            settings[read.dest] = read
    return settings, problems


def setting_of(table: Table, key: str, value: Any) -> Setting | Problem:
    """Return what a key says, or why it cannot."""
    if isinstance(value, list | dict):
        return _setting_of(table, key, value)
    return _kept_setting_of(table, key, value)


def argv_of(settings: Iterable[Setting]) -> tuple[str, ...]:
    """Return the command line of what was said."""
    return tuple(part for setting in settings for part in setting.argv)


def _setting_of(table: Table, key: str, value: Any) -> Setting | Problem:
    argument = table.find(key)
    if argument is None:
        return _unknown(table, key)
    try:
        if argument.action in _FLAGS:
            wanted = truth(value) != _is_negative(argument, key)
            return Setting(key=key, dest=argument.dest, value=wanted, argv=_flag(table, argument, wanted))
        return _with_value(argument, key, value)
    except ValueError as err:
        what, _, fix = str(err).partition("; ")
        return Problem(what=f"{what} ({argument.flags[0]} takes {_wanted(argument)})", where=key, fix=fix)


# A sweep says most of its arguments once more for every point; typed: 1, 1.0 and true are not the same.
_kept_setting_of = functools.lru_cache(maxsize=65536, typed=True)(_setting_of)


def _unknown(table: Table, key: str, others: Collection[str] = ()) -> Problem:
    fix = nearest(normalised(key), [*table.names, *others])
    return Problem(what=f"Megatron-LM has no argument '{key}' ({table.source})", where=key, fix=fix)


def _is_negative(argument: Argument, key: str) -> bool:
    """Tell whether a key names the flag that makes its dest false: `no_position_embedding: true` is `--no-...`."""
    name = normalised(key)
    if name == argument.dest and not key.startswith("-"):
        return False
    if argument.action == "boolean_optional":
        return name != argument.dest and name.startswith("no_") and name != normalised(argument.flags[0])
    return argument.action == "store_false"


def _flag(table: Table, argument: Argument, wanted: bool) -> tuple[str, ...]:
    """Return the flag that gives a dest its truth value, nothing where it has it. Raises ValueError for none."""
    same = [other for other in table.by_dest[argument.dest] if other.action in _FLAGS]
    if same[0].default is wanted:
        return ()
    for other in same:
        if other.action == "boolean_optional":
            return (next(flag for flag in other.flags if flag.startswith("--no-") is not wanted),)
        if other.action == ("store_true" if wanted else "store_false"):
            return (other.flags[0],)
    if not wanted and same[0].default is None:
        return ()  # nothing but the flag makes it true
    raise ValueError(f"no flag makes {argument.dest} {str(wanted).lower()}; take it out")


def _with_value(argument: Argument, key: str, value: Any) -> Setting:
    if isinstance(value, dict):
        raise ValueError(f"{value!r} is a mapping")
    if value == [] and argument.nargs != "*" and default_of(argument) != []:
        raise ValueError("there are 0 values; give one, or take it out")
    flag = argument.flags[0]
    if argument.action == "store" and argument.nargs is None:
        made, text, is_open = _one(argument, value)
        argv = () if _is_default(argument, made) and not is_open else _told(flag, [text])
        return Setting(key=key, dest=argument.dest, value=made, argv=argv, open=is_open)
    if argument.action == "store_const":
        if not (value == argument.const or (isinstance(value, bool) and value)):
            raise ValueError(f"{value!r} is not {argument.const!r}")
        return Setting(key=key, dest=argument.dest, value=argument.const, argv=(flag,))
    if argument.action in ("store", "append", "extend"):
        return _several(argument, key, value)
    if argument.action == "count" and isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return Setting(key=key, dest=argument.dest, value=value, argv=(flag,) * value)
    raise ValueError(f"{value!r} cannot be told; put what you mean into extra_args")


def _several(argument: Argument, key: str, value: Any) -> Setting:
    flag = argument.flags[0]
    read = [_one(argument, item) for item in words(value)]
    made, texts = [item for item, _, _ in read], [text for _, text, _ in read]
    _check_count(argument, len(read))
    is_open = any(item_is_open for _, _, item_is_open in read)
    scalar = made[0] if len(made) == 1 and not isinstance(value, list) else made
    if not is_open and (_is_default(argument, made) or _is_default(argument, scalar)):
        return Setting(key=key, dest=argument.dest, value=made, argv=())
    if argument.action == "append":
        argv = tuple(part for text in texts for part in _told(flag, [text]))
    else:
        argv = _told(flag, texts)
    return Setting(key=key, dest=argument.dest, value=made, argv=argv, open=is_open)


def _check_count(argument: Argument, count: int) -> None:
    wanted = argument.nargs
    if isinstance(wanted, int) and count != wanted:
        raise ValueError(f"there are {count} values")
    if (wanted == "?" and count > 1) or (wanted == "+" and count == 0 and argument.default != []):
        raise ValueError(f"there are {count} values")


def _one(argument: Argument, value: Any) -> tuple[Any, str, bool]:
    if isinstance(value, str) and names_in(value):
        return value, value, True
    return *typed(argument, value), False


def _is_default(argument: Argument, made: Any) -> bool:
    default = default_of(argument)
    return bool(type(made) is type(default) and made == default) or (
        isinstance(made, float) and type(default) is int and made == default
    )


def _told(flag: str, texts: list[str]) -> tuple[str, ...]:
    """Return flag and values; what begins with a dash is a value only right behind the flag's own `=`.

    argparse takes -1 and -0.5 for values anywhere, -1e-05 and -x for flags. Raises ValueError for what it cannot read.
    """
    dashed = [text for text in texts if text.startswith("-")]
    if "--" in dashed:
        raise ValueError("'--' ends the options for argparse and is no value")
    if len(texts) == 1:
        return (f"{flag}={texts[0]}",) if dashed else (flag, texts[0])
    odd = [text for text in dashed if not _is_plain_number(text)]
    if odd:
        raise ValueError(f"'{odd[0]}' among several values is a flag for argparse")
    return (flag, *texts)


def _is_plain_number(text: str) -> bool:
    return text[1:].replace(".", "", 1).isdecimal() and text[-1].isdecimal()


def _wanted(argument: Argument) -> str:
    """Return what an argument takes, for people."""
    if argument.action in _FLAGS:
        return "true or false"
    names = {"int": "a whole number", "float": "a number", "bool": "true or false", "": "text", "str": "text"}
    one = names.get(argument.type, "text" if argument.choices else f"a value of {argument.type}")
    if argument.nargs is None:
        return one
    many = {"+": "one or more of", "*": "any number of", "?": "at most one of"}
    return f"{many.get(str(argument.nargs), f'{argument.nargs} of')} {one}"
