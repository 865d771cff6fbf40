"""Keep the values of secrets out of what is written down."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from urllib.parse import unquote

from oellm_bench.errors import ConfigError, Problem
from oellm_bench.shell import SHORTEST_SECRET, is_secret_name, quote

_CREDENTIALS = re.compile(r"://[^/\s'\"@]+@")


def refuse_secrets(texts: Iterable[str], environment: Mapping[str, str]) -> None:
    """Refuse what would write the value of a secret variable to disk. Raises ConfigError naming the variables."""
    secrets = {
        name: _spellings(value)
        for name, value in environment.items()
        if is_secret_name(name) and len(value) >= SHORTEST_SECRET
    }
    found = {
        name for text in texts for name, spellings in secrets.items() if any(spelling in text for spelling in spellings)
    }
    leaked = [name for name in secrets if name in found]
    if leaked:
        raise ConfigError(
            Problem(
                what=f"the value of ${name} would be written into the plan",
                where="configuration",
                fix=f"read {name} from the environment inside the command instead",
            )
            for name in leaked
        )


def without_secrets(text: str, environment: Mapping[str, str], named: Collection[str] = ()) -> str:
    """Return a text with secret variables' names for their values, and without users and passwords of addresses.

    `named`: further variables that hold secrets, or addresses with a password in them.
    """
    for name, value in environment.items():
        if (name in named or is_secret_name(name)) and len(value) >= SHORTEST_SECRET:
            for spelling in sorted(_spellings(value) | _passwords(value), key=len, reverse=True):
                text = text.replace(spelling, f"${name}")
    return _CREDENTIALS.sub("://***@", text)


def _passwords(value: str) -> set[str]:
    """Return the password of an address, as it stands there and as it is meant."""
    credentials = _CREDENTIALS.search(value)
    password = credentials.group()[3:-1].partition(":")[2] if credentials else ""
    return {word for word in (password, unquote(password)) if len(word) >= SHORTEST_SECRET}


def _spellings(value: str) -> set[str]:
    """Return the value as it may stand in text, in a shell line, and in JSON or TOML that holds one of these."""
    plain = (value, quote(value))
    return {
        *plain,
        *(json.dumps(text, ensure_ascii=ascii_only)[1:-1] for text in plain for ascii_only in (True, False)),
    }
