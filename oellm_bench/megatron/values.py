"""One value of an argument: from what YAML has to what Megatron's parser makes of a text, and that text."""

from __future__ import annotations

import math
import re
import signal
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

from oellm_bench.errors import nearest
from oellm_bench.megatron.table import Argument

_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")
_THOUSANDS = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_LARGEST_EXPONENT = 30  # "1e999999999" would be a number of a billion digits, and so would "1e-999999999"
# What the types with a pattern of layers take: a number, or a list in Python's spelling ("([1]*3+[0])*2").
_LAYER_PATTERN = re.compile(r"[0-9\[\]()*+, ]*\[[0-9\[\]()*+, ]*")
_MEMBER = re.compile(r"[A-Z]\w*\.\w+")
_WORD = re.compile(r"(?:\{[^{}]*\}|[^\s,])+")  # the comma in {dataset:name,format} parts nothing

Typed = tuple[Any, str]


def exact(value: object) -> Fraction:
    """Return the number that was written, with no rounding: 4, 1e9, "1_000", "300B", "1.5T" (K, M, B, T are decimal).

    Raises ValueError for what is no number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not a number")
    text = str(value).strip()
    factor = _THOUSANDS.get(text[-1:].upper(), 1) if isinstance(value, str) else 1
    try:
        number = Decimal(text[:-1] if factor > 1 else text)
    except InvalidOperation:
        raise ValueError(f"'{value}' is not a number") from None
    if not number.is_finite() or abs(number.adjusted()) > _LARGEST_EXPONENT:
        raise ValueError(f"'{value}' is no number that can be counted with")
    return Fraction(number) * factor


def truth(value: object) -> bool:
    """Return the truth value that was written. Raises ValueError for what is none."""
    word = str(value).strip().lower() if isinstance(value, bool | int | str) else ""
    if word not in (*_TRUE, *_FALSE):
        raise ValueError(f"{value!r} is not true or false")
    return word in _TRUE


def typed(argument: Argument, value: object) -> Typed:
    """Return one value as the argument's type makes it, and the text it makes it of.

    Raises ValueError with what is wrong with it.
    """
    reader = _TYPES.get(argument.type, _text)
    made, text = reader(value)
    if not argument.choices:
        return made, text
    choices = [_choice(argument, choice) for choice in argument.choices]
    if is_enumeration(argument):
        made = text = _choice(argument, made)
    if made not in choices:
        raise ValueError(f"{value!r} is not among the choices; {nearest(text, [*map(str, choices)])}")
    return made, text


def words(value: object) -> list[Any]:
    """Return the values of an argument that takes several: a list as it is, a text split at blanks and commas."""
    if isinstance(value, list | tuple):
        return [*value]
    return _WORD.findall(value) if isinstance(value, str) else [value]


def _integer(value: object) -> Typed:
    number = exact(value) if _suffix(value) == "" else None
    if number is None or number.denominator != 1:
        raise ValueError(f"{value!r} is not a whole number")
    return int(number), str(int(number))


def _float(value: object) -> Typed:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is not a number")
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise ValueError(f"{value!r} is not a number") from None
    if math.isnan(number):
        raise ValueError(f"{value!r} is not a number")
    return number, repr(number)


def _text(value: object) -> Typed:
    if isinstance(value, bool):
        raise ValueError(f"YAML reads this as {str(value).lower()}, and text is wanted: put it in quotes")
    if not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is not text")
    return str(value), str(value)


def _layers(value: object) -> Typed:
    """Return how often a kind of layer comes: a number, a list, or a list as a Python expression."""
    if isinstance(value, list):
        items = [_integer(item)[0] for item in value]
        return items, str(items).replace(" ", "")
    if isinstance(value, str) and "[" in value:
        if not _LAYER_PATTERN.fullmatch(value):
            raise ValueError(f"'{value}' is no pattern of layers such as ([1]*3+[0]*1)*2")
        return value, value
    return _integer(value)


def _numbers(value: object) -> Typed:
    """Return whole numbers that are written as one word: 128,0."""
    items = value if isinstance(value, list | tuple) else str(value).strip().strip("()").split(",")
    made = [_integer(item)[0] for item in items]
    return made, ",".join(map(str, made))


def _word_of_truth(value: object) -> Typed:
    made = truth(value)
    return made, "True" if made else ""  # Python's bool() takes any text but the empty one for true


def _suffix(value: object) -> str:
    return value.strip()[-1:] if isinstance(value, str) and value.strip()[-1:].upper() in _THOUSANDS else ""


def _choice(argument: Argument, choice: Any) -> Any:
    """Return a choice as it is written: of an enumeration (`Backend.flash`, a signal's number) its name."""
    if not is_enumeration(argument):
        return choice
    if str(choice).isdecimal():
        try:
            return signal.Signals(int(choice)).name
        except ValueError:
            return str(choice)
    return str(choice).rpartition(".")[2]


def is_enumeration(argument: Argument) -> bool:
    """Tell whether a value is the name of a member: the type says so, or all choices look like Backend.flash."""
    if argument.type in _TYPES or not argument.type:
        return False
    return argument.type == _ENUMERATION or all(_MEMBER.fullmatch(str(choice)) for choice in argument.choices or [""])


def default_of(argument: Argument) -> Any:
    """Return the default as a typed value is: an enumeration's by its name."""
    if is_enumeration(argument) and argument.default is not None:
        return _choice(argument, argument.default)
    return argument.default


_ENUMERATION = "enum_type_handler"
_TYPES: dict[str, Callable[[object], Typed]] = {
    "int": _integer,
    "float": _float,
    "bool": _word_of_truth,
    "moe_freq_type": _layers,
    "la_freq_type": _layers,
    "no_rope_freq_type": _layers,
    "tuple_type": _numbers,
}
