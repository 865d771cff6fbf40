"""Blocks within Slack's limits, and messages that hold as many of them as Slack takes."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from oellm_bench.sinks.slack_text import escaped, plain

Block = dict[str, Any]

# docs.slack.dev/reference/block-kit/blocks: header, section, table; docs.slack.dev/reference/methods/chat.postMessage.
LONGEST_HEADER = 150
LONGEST_SECTION = 3000
LONGEST_FIELD = 2000
MOST_FIELDS = 10
MOST_ROWS = 100
MOST_COLUMNS = 20
_MOST_BLOCKS = 50
_LONGEST_FALLBACK = 300
# Undocumented: `msg_blocks_too_long` comes from about 13,200 characters of blocks on (slackapi/bolt-js issue 2509).
_LONGEST_BLOCKS = 12_000
_LONGEST_TABLE = 9_000


@dataclass(frozen=True)
class Message:
    """One message: `text` is what notifications show, `blocks` what people read."""

    text: str
    blocks: tuple[Block, ...]

    def to_document(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"text": self.text, "blocks": list(self.blocks)}

    def reduced(self) -> Message:
        """Return what is left where Slack takes the blocks for wrong: the text alone."""
        return Message(self.text, (section(f"{self.text}\n_Slack refused the details; results.json has them._"),))


def header(text: str) -> Block:
    """Return a header; its text is shown as it is."""
    return {"type": "header", "text": _plain_text(text, LONGEST_HEADER)}


def section(mrkdwn: str) -> Block:
    """Return a section of mrkdwn that is escaped already."""
    assert len(mrkdwn) <= LONGEST_SECTION
    return {"type": "section", "text": {"type": "mrkdwn", "text": mrkdwn}}


def fields(values: Mapping[str, object]) -> Block:
    """Return a section of names and values, at most ten."""
    assert len(values) <= MOST_FIELDS
    shown = [f"*{escaped(name, 100)}*\n{escaped(value, 500)}" for name, value in values.items()]
    return {"type": "section", "fields": [{"type": "mrkdwn", "text": text} for text in shown]}


def listed(title: str, items: Sequence[str]) -> Iterator[Block]:
    """Yield a titled list over as many sections as it needs; a very long item is cut, and says so."""
    text = f"*{title}*"
    for item in items:
        line = f"\n- {escaped(item, 1200)}"
        if len(text) + len(line) > LONGEST_SECTION:
            yield section(text)
            text = f"*{title}, continued*"
        text += line
    if items:
        yield section(text)


def tables(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[Block]:
    """Yield a table over as many blocks as it needs, each with the head; a cell is never empty."""
    assert len(head) <= MOST_COLUMNS
    top = _row(head)
    current, size = [top], _size(top)
    for cells in rows:
        row = _row(cells)
        if len(current) == MOST_ROWS or (len(current) > 1 and size + _size(row) > _LONGEST_TABLE):
            yield {"type": "table", "rows": current}
            current, size = [top], _size(top)
        current.append(row)
        size += _size(row)
    if len(current) > 1:
        yield {"type": "table", "rows": current}


def messages(text: str, blocks: Iterable[Block]) -> list[Message]:
    """Return the messages that hold these blocks: one table in each at most, as Slack wants it."""
    fallback = escaped(text, _LONGEST_FALLBACK)
    packed: list[list[Block]] = [[]]
    for block in blocks:
        if packed[-1] and not _fits(packed[-1], block):
            packed.append([section(f"{escaped(text, 150)} _(continued)_")])
        packed[-1].append(block)
    return [Message(fallback, tuple(chunk)) for chunk in packed]


def _fits(chunk: Sequence[Block], block: Block) -> bool:
    if len(chunk) == _MOST_BLOCKS or sum(map(_size, chunk)) + _size(block) > _LONGEST_BLOCKS:
        return False
    return block["type"] != "table" or all(other["type"] != "table" for other in chunk)


def _row(cells: Sequence[str]) -> list[dict[str, str]]:
    return [{"type": "raw_text", "text": plain(cell, 300)} for cell in cells]


def _plain_text(text: str, longest: int) -> dict[str, Any]:
    return {"type": "plain_text", "text": plain(text.replace("\n", " "), longest), "emoji": False}


def _size(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False))
