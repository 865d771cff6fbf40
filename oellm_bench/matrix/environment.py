"""`${VARIABLE}` in a matrix: every one has to be set when the file is read."""

from __future__ import annotations

import re
from collections.abc import Mapping

from oellm_bench.errors import ConfigError, Problem
from oellm_bench.matrix.document import Node

_REFERENCE = re.compile(r"\$(?P<escaped>\$\{)|\$\{(?P<name>[^}]*)\}")
_NAME = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>.*))?", re.DOTALL)


def resolved(document: Node, environment: Mapping[str, str], key: str = "") -> Node:
    """Return the tree with each `${NAME}` in a text replaced by that variable, `${NAME:-text}` with a default.

    `$${` stands for a literal `${`. Raises ConfigError naming file, key and variable of each that has no value: one
    that is set to nothing would make a path end where nobody meant it to. `key`: that of the document itself.
    """
    problems: dict[Problem, None] = {}

    def change(inner: str, node: Node) -> object:
        if not isinstance(node.value, str):
            return node.value

        def value(match: re.Match[str]) -> str:
            if match["escaped"]:
                return "${"
            asked = _NAME.fullmatch(match["name"])
            where = f"{node.where}: {'.'.join(filter(None, (key, inner)))}"
            if asked is None:
                fix = "write ${NAME} or ${NAME:-default}, and $${ for a literal ${"
                problems[Problem(what=f"{match.group()} names no variable", where=where, fix=fix)] = None
                return ""
            found = environment.get(asked["name"]) or asked["default"]
            if found is None:
                state = "set to nothing" if asked["name"] in environment else "not set"
                what = f"the environment variable {asked['name']} is {state}"
                problems[Problem(what=what, where=where, fix=f"export {asked['name']}=...")] = None
            return found or ""

        return _REFERENCE.sub(value, node.value)

    result = document.mapped(change)
    if problems:
        raise ConfigError(problems)
    return result


def variable_of(text: object) -> str | None:
    """Return the name of the variable where a text is just one reference to it."""
    match = _REFERENCE.fullmatch(text) if isinstance(text, str) else None
    name = match["name"] if match is not None else None
    return name if name and _NAME.fullmatch(name) and ":" not in name else None
