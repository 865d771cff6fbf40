"""Secrets of sinks: named in the configuration, read from the environment, kept out of every text."""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from oellm_bench.errors import ConfigError, Problem
from oellm_bench.sinks.base import SinkError
from oellm_bench.sinks.needs import unset

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HIDDEN = "***"
_LONGEST_ANSWER = 120  # characters of a service's words that an error quotes


def name_problems(value: str, where: str, example: str) -> Iterator[Problem]:
    """Yield a problem where a field that names a variable holds something else, maybe the secret; never shows it."""
    if not _VARIABLE.fullmatch(value):
        yield Problem(
            what="this is not the name of an environment variable",
            where=where,
            fix=f"keep the secret out of the configuration: export {example}=..., and write {example} here",
        )


def address_problems(address: str, where: str) -> Iterator[Problem]:
    """Yield a problem where a secret would travel unencrypted, or to nowhere; never shows the address."""
    parts = urlsplit(address)
    if parts.scheme == "https" and parts.hostname:
        return
    if not (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        fix = "give an https:// address (http:// only on this machine)"
        yield Problem(what="a secret cannot be sent there", where=where, fix=fix)


def secret(name: str) -> str:
    """Return the value of a secret variable. Raises ConfigError where it is not set, or is no line of text."""
    value = os.environ.get(name, "").strip()
    if not value:
        raise ConfigError(unset(name, ""))
    if not value.isprintable() or not value.isascii() or " " in value:
        raise ConfigError(Problem(what=f"the value of ${name} cannot be right", fix="export it again, without blanks"))
    return value


def without(text: object, *secrets: str) -> str:
    """Return the beginning of a service's words, printable, with no secret in it."""
    shown = str(text)
    for value in secrets:
        shown = shown.replace(value, _HIDDEN)
    return "".join(c if c.isprintable() else " " for c in shown)[:_LONGEST_ANSWER]


def unreachable(service: str, err: BaseException, *secrets: str) -> SinkError:
    """Return the error for a service that gave no answer."""
    return SinkError(f"{service} gave no answer ({type(err).__name__}: {without(err, *secrets)})")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
