"""Overrides of the command line, told apart: group choices, values, and sweeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString, Transformer
from hydra.errors import HydraException

from oellm_bench.errors import ConfigError, Problem


@dataclass(frozen=True, kw_only=True)
class Overrides:
    """`lines` go to Hydra; the axes are expanded by the sweep. `origins`: dotted key to `-o ...` as typed."""

    lines: tuple[str, ...]
    group_axes: Mapping[str, Sequence[str]]
    value_axes: Mapping[str, Sequence[Any]]
    origins: Mapping[str, str]


def parse_overrides(texts: Sequence[str], loader: ConfigLoader) -> Overrides:
    """Parse overrides in Hydra's grammar. Raises ConfigError naming every one that is malformed.

    A value may be set whether or not a YAML file mentions its key (Hydra would want a `+`): keys that do not
    exist are found by the schema afterwards, with the nearest valid name.
    """
    parser = OverridesParser.create(config_loader=loader)
    problems: list[Problem] = []
    lines: list[str] = []
    groups: dict[str, Sequence[str]] = {}
    values: dict[str, Sequence[Any]] = {}
    origins: dict[str, str] = {}
    for text in texts:
        try:
            override = parser.parse_overrides([text])[0]
        except HydraException as err:
            problems.append(_malformed(text, err))
            continue
        key = override.key_or_group
        if not key:
            problems.append(_malformed(text, ValueError("it names no key")))
            continue
        origins[key.replace("/", ".")] = f"-o {text}"
        if override.is_sweep_override():
            try:
                found = [_plain(item) for item in override.sweep_iterator(transformer=Transformer.identity)]
            except HydraException as err:
                problems.append(_malformed(text, err))
                continue
            if not found:
                problems.append(Problem(what="the sweep has no values", where=f"-o {text}"))
            elif _is_group(key, loader):
                groups[key] = [option_name(item) for item in found]
            else:
                values[key] = found
        else:
            try:
                lines.append(_line(text, override, loader))
            except ConfigError as err:
                problems += err.problems
    if problems:
        raise ConfigError(problems)
    return Overrides(lines=tuple(lines), group_axes=groups, value_axes=values, origins=origins)


def option_name(value: object) -> str:
    """Return the name of a group's option as it was written: null is one like any other, and so are on and off.

    YAML 1.1 reads a bare `off` as false.
    """
    if isinstance(value, bool):
        return "on" if value else "off"
    return "null" if value is None else str(value)


def quoted_option(name: str) -> str:
    """Return the name as Hydra's grammar takes it for a text, whatever it looks like."""
    return f"'{name}'" if name == "null" else name


def _is_group(key: str, loader: ConfigLoader) -> bool:
    return bool(loader.get_group_options(key))


def _line(text: str, override: Override, loader: ConfigLoader) -> str:
    """Return an override as Hydra is to read it. Raises ConfigError for a group whose option has no name."""
    is_group, value = _is_group(override.key_or_group, loader), override.value()
    if override.is_delete() or override.package is not None:
        return text
    if not is_group:
        return f"++{text.lstrip('+')}"
    if value is None or isinstance(value, bool):
        return f"{text.partition('=')[0]}={quoted_option(option_name(value))}"
    if not all(isinstance(word, str) for word in (value if isinstance(value, list) else [value])):
        fix = f"name an option, or set a single value: {override.key_or_group}.KEY=VALUE"
        raise ConfigError(Problem(what=f"'{override.key_or_group}' is a group", where=f"-o {text}", fix=fix))
    return text


def _malformed(text: str, err: Exception) -> Problem:
    reason = str(err).splitlines()[0]
    fix = "write KEY=VALUE; quote a value that has , = < > ( ) [ ] { } ; & ! # or a quote in it, like 'KEY=\"a > b\"'"
    return Problem(what=f"cannot be read ({reason})", where=f"-o {text}", fix=fix)


def _plain(value: Any) -> Any:
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {_plain(key): _plain(item) for key, item in value.items()}
    return value
