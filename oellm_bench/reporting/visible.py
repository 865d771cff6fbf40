"""Text that jobs wrote, as a person may look at it: nothing in it is invisible, and nothing is a command."""

from __future__ import annotations

import unicodedata

LONGEST = 300  # characters of one value; the files have all of it
_KEPT = "\n\t"
# Cc control, Cf format (text directions, zero widths), Cs lone surrogates, Co and Cn: what has no agreed look.
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def visible(text: str, limit: int | None = LONGEST) -> str:
    """Return a text with control characters in caret notation (`^[`) and other unseen ones as escapes.

    Line ends and tabs stay. All of the result may stand in XML 1.0. `limit`: characters, None for all.
    """
    cut = text if limit is None or len(text) <= limit else f"{text[: limit - 3]}..."
    if cut.isprintable():
        return cut
    return "".join(character if character.isprintable() else _shown(character) for character in cut)


def _shown(character: str) -> str:
    code = ord(character)
    if character in _KEPT:
        return character
    if code < 0x20 or code == 0x7F:
        return f"^{chr(code ^ 0x40)}"
    return character if unicodedata.category(character) not in _UNSEEN else f"\\u{{{code:x}}}"
