"""Values put into a line for bash: each as one word, and never where quoting could not hold it."""

from __future__ import annotations

from collections.abc import Callable

from oellm_bench.placeholders import expand
from oellm_bench.shell import quote

_MARK = "\0"  # cannot stand in an argument of a program


def fill_line(template: str, lookup: Callable[[str], str | None]) -> str:
    """Return the line with each placeholder as one quoted word.

    Raises UnknownPlaceholder and ValueError as `expand` does, and ValueError where a value that needs quotes
    stands inside quotes, backticks or a here-document: there it would be split, or run.
    """
    found: list[tuple[str, str]] = []

    def mark(name: str) -> str | None:
        value = lookup(name)
        if value is None:
            return None
        found.append((name, value))
        return f"{_MARK}{len(found) - 1}{_MARK}"

    parts = expand(template, mark).split(_MARK)
    context = _Context()
    for index, part in enumerate(parts):
        if index % 2 == 0:
            context.read(part)
            continue
        name, value = found[int(part)]
        parts[index] = quote(value)
        if parts[index] != value and not context.takes_words:
            raise ValueError(
                f"the value of {{{name}}} has to be quoted, and stands inside quotes already in '{template}': "
                f"take the quotes around {{{name}}} away"
            )
    return "".join(parts)


class _Context:
    """Where in a line of bash one is: which quotes and substitutions are open."""

    def __init__(self) -> None:
        self._open: list[str] = []
        self._escaped = self._comment = self._here_document = False
        self._before = " "

    @property
    def takes_words(self) -> bool:
        """Whether a quoted word put in here is read as that word."""
        return not ({*self._open[-1:]} & {"'", '"'} or "`" in self._open or self._here_document)

    def read(self, text: str) -> None:
        """Go on to the end of `text`."""
        for character in text:
            self._step(character)
            self._before = character
        if text:
            self._before = text[-1]

    def _step(self, character: str) -> None:
        inside = self._open[-1] if self._open else ""
        if self._comment:
            self._comment = character != "\n"
        elif inside == "'":
            self._close("'", character)
        elif self._escaped:
            self._escaped = False
        elif character == "\\":
            self._escaped = True
        elif inside == '"':
            self._in_double_quotes(character)
        else:
            self._outside_quotes(character, inside)

    def _close(self, closing: str, character: str) -> bool:
        if character == closing:
            self._open.pop()
        return character == closing

    def _in_double_quotes(self, character: str) -> None:
        if self._close('"', character):
            return
        if character == "`" or (character == "(" and self._before == "$"):
            self._open.append(character)

    def _outside_quotes(self, character: str, inside: str) -> None:
        if (character, inside) in ((")", "("), ("`", "`")):
            self._open.pop()
        elif character in "'\"(`":
            self._open.append(character)
        elif character == "#" and self._before in " \t\n;&|(":
            self._comment = True
        elif character == "<" and self._before == "<":
            self._here_document = True
