"""Which entries are meant: `a and not (b or c*)`."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Sequence

from oellm_bench.errors import UsageError, nearest

_WORDS = re.compile(r"\s*(?:(?P<mark>[(),])|(?P<word>[^\s(),]+))")
Test = Callable[[str], bool]


def matching(expression: str, names: Sequence[str]) -> list[str]:
    """Return the names that an expression of words, `and`, `or` (also a comma), `not` and brackets fits.

    A word that is a name means just that one; one with `*`, `?` or `[` is a pattern for whole names; any other is
    looked for inside of names, whatever its case. Raises UsageError for an expression that is none, for a word that
    fits no name, and where nothing is left.
    """
    found = [name for name in names if _Reader(expression, names).test()(name)]
    if not found:
        raise UsageError(f"--entries '{expression}' leaves none of the {len(names)} entries; {nearest('', names)}")
    return found


class _Reader:
    """Reads one expression by recursive descent."""

    def __init__(self, expression: str, names: Sequence[str]) -> None:
        self._text = expression
        self._names = names
        self._left = [match["mark"] or match["word"] for match in _WORDS.finditer(expression)]

    def test(self) -> Test:
        """Return the test that the whole expression stands for. Raises UsageError."""
        test = self._alternatives()
        if self._left:
            raise self._wrong(f"'{self._left[0]}' is not expected there")
        return test

    def _alternatives(self) -> Test:
        tests = [self._conditions()]
        while self._next_is("or", ","):
            tests.append(self._conditions())
        return lambda name: any(test(name) for test in tests)

    def _conditions(self) -> Test:
        tests = [self._condition()]
        while self._next_is("and"):
            tests.append(self._condition())
        return lambda name: all(test(name) for test in tests)

    def _condition(self) -> Test:
        if self._next_is("not"):
            test = self._condition()
            return lambda name: not test(name)
        if self._next_is("("):
            test = self._alternatives()
            if not self._next_is(")"):
                raise self._wrong("a bracket is not closed")
            return test
        if not self._left or self._left[0] in ("and", "or", ")", ","):
            raise self._wrong("a name is missing" + (f" before '{self._left[0]}'" if self._left else " at the end"))
        return self._word(self._left.pop(0))

    def _word(self, word: str) -> Test:
        if word in self._names:
            return lambda name: name == word
        if any(character in word for character in "*?["):
            chosen = set(fnmatch.filter(self._names, word))
        else:
            chosen = {name for name in self._names if word.lower() in name.lower()}
        if not chosen:
            raise UsageError(f"--entries: no entry fits '{word}'; {nearest(word, self._names)}")
        return lambda name: name in chosen

    def _next_is(self, *words: str) -> bool:
        if self._left and self._left[0] in words:
            self._left.pop(0)
            return True
        return False

    def _wrong(self, what: str) -> UsageError:
        return UsageError(f"--entries '{self._text}': {what}; write names, and, or, not, brackets")
