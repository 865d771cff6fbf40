"""Patterns over what came new in a log."""

from __future__ import annotations

import itertools
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from oellm_bench.core.result import ErrorMode
from oellm_bench.errors import Problem, nearest
from oellm_bench.monitoring.log_tail import Chunk
from oellm_bench.monitoring.settings import LogSignal, MonitoringConfig

MOST_MATCHES = 1000  # of one signal in one attempt: each is a line in the journal and may be an action

_log = logging.getLogger(__name__)
_LONGEST_VALUE = 4096  # bytes of a group: its text stands in the journal, and in each action that it asks for
_LONGEST_TEXT = 500  # of a matched line in the journal
_LONGEST_LINE = 64 << 10  # bytes that a regex is tried on: the time of most patterns grows with their square


@dataclass(frozen=True, kw_only=True)
class SeenSignal:
    """One match. `position` names it for good: file generation, byte offset and pattern are never reused.

    `values` are what an action's placeholders can use.
    """

    name: str
    position: str
    line: str
    values: Mapping[str, str]
    metadata: Mapping[str, Any]
    mode: str = ""
    action: str = ""

    def to_document(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return asdict(self)


class Scanner:
    """The configured patterns, compiled once."""

    def __init__(self, signals: Sequence[LogSignal], noise: Sequence[str] = ()) -> None:
        self._signals = [(signal, _compiled(signal)) for signal in signals]
        self._noise = [re.compile(pattern.encode()) for pattern in noise]
        self._told_of_long_lines = False

    def scan(self, chunk: Chunk, stream: str, counts: Mapping[str, int]) -> Iterator[SeenSignal]:
        """Yield the matches in `chunk`, by pattern, then by place.

        `counts`: how often each signal has fired in this attempt; one that has fired MOST_MATCHES times, or once
        where that is all it may, stays silent. A regex is not tried on lines of more than 64 KiB.
        """
        short = self._short_lines(chunk.data)
        for signal, pattern in self._signals:
            spans = short if signal.pattern_type == "regex" else [(0, len(chunk.data))]
            left = (1 if signal.once else MOST_MATCHES) - counts.get(signal.name, 0)
            matches = itertools.chain.from_iterable(pattern.finditer(chunk.data, *span) for span in spans)
            for match in itertools.islice(matches, max(left, 0)):
                yield _seen(signal, match, chunk, stream)

    def shows_life(self, data: bytes) -> bool:
        """Tell whether there is a line that says something and that is not to be ignored."""
        if not self._noise:
            return True
        lines = (line[:_LONGEST_LINE] for line in re.split(rb"[\r\n]", data) if line.strip())
        return any(not any(pattern.search(line) for pattern in self._noise) for line in lines)

    def _short_lines(self, data: bytes) -> list[tuple[int, int]]:
        spans = list(_spans_of_short_lines(data))
        if sum(end - start for start, end in spans) < len(data) and not self._told_of_long_lines:
            self._told_of_long_lines = True
            _log.warning("lines of more than %d bytes are not searched by regular expressions", _LONGEST_LINE)
        return spans


def signal_problems(config: MonitoringConfig) -> list[Problem]:
    """Return what is wrong with the signals; `where` of a problem is its dotted key."""
    problems: list[Problem] = []
    names = [signal.name for signal in config.log_signals]
    for index, signal in enumerate(config.log_signals):
        key = f"monitoring.log_signals.{index}"
        problems += _pattern_problems(signal, key)
        modes = [mode.value for mode in ErrorMode]
        if signal.mode and signal.mode not in modes:
            what = f"'{signal.mode}' is no error mode"
            problems.append(Problem(what=what, where=f"{key}.mode", fix=nearest(signal.mode, modes)))
        if names.count(signal.name) > 1:
            what = f"two signals are called '{signal.name}'"
            problems.append(Problem(what=what, where=f"{key}.name", fix="rename one"))
    for index, pattern in enumerate(config.ignore_output):
        found = _pattern_problems(LogSignal(name="noise", pattern=pattern), "")
        problems += [replace(problem, where=f"monitoring.ignore_output.{index}") for problem in found]
    return problems


def _pattern_problems(signal: LogSignal, key: str) -> Iterator[Problem]:
    try:
        compiled = _compiled(signal)
    except re.error as err:
        what = f"'{signal.pattern}' is no regular expression ({err})"
        fix = "correct the pattern, or set pattern_type: substring"
        yield Problem(what=what, where=f"{key}.pattern", fix=fix)
        return
    if compiled.search(b""):
        what = f"'{signal.pattern}' matches the empty string and would fire everywhere"
        yield Problem(what=what, where=f"{key}.pattern", fix="have it ask for at least one character: x+, not x*")
    for name, group in signal.extract_groups.items():
        if group != "match" and group not in compiled.groupindex and not _is_number_of(group, compiled):
            what = f"'{signal.pattern}' has no group {group!r} (for {name})"
            fix = f"its groups are: {', '.join(compiled.groupindex) or compiled.groups or 'none'}; or match"
            yield Problem(what=what, where=f"{key}.extract_groups", fix=fix)


def _is_number_of(group: str | int, pattern: re.Pattern[bytes]) -> bool:
    return isinstance(group, int) and 0 <= group <= pattern.groups


def _compiled(signal: LogSignal) -> re.Pattern[bytes]:
    text = signal.pattern if signal.pattern_type == "regex" else re.escape(signal.pattern)
    return re.compile(text.encode(), re.MULTILINE)


def _spans_of_short_lines(data: bytes) -> Iterator[tuple[int, int]]:
    """Yield the stretches of `data` between lines that are too long; as a rule one, all of it.

    A carriage return ends a line too: progress bars write nothing else.
    """
    start = place = 0
    while len(data) - place > _LONGEST_LINE:
        window = (place, place + _LONGEST_LINE + 1)
        end = max(data.rfind(b"\n", *window), data.rfind(b"\r", *window)) + 1
        if not end:
            if place > start:
                yield start, place
            ends = [found for found in (data.find(b"\n", place), data.find(b"\r", place)) if found >= 0]
            end = start = min(ends) + 1 if ends else len(data)
        place = end
    if start < len(data):
        yield start, len(data)


def _seen(signal: LogSignal, match: re.Match[bytes], chunk: Chunk, stream: str) -> SeenSignal:
    start = chunk.data.rfind(b"\n", 0, match.start()) + 1
    end = chunk.data.find(b"\n", match.end())
    line = chunk.data[start : end if end >= 0 else len(chunk.data)][: 4 * _LONGEST_TEXT]  # UTF-8: up to 4 bytes each
    values = {name: _text(value) for name, value in match.groupdict().items() if value is not None}
    for name, group in signal.extract_groups.items():
        value = match.group() if group == "match" else match.group(group)
        values[name] = _text(value or b"")
    if signal.metadata.get("kind") == "checkpoint" and "path" in values:
        values.setdefault("checkpoint_path", values["path"])
    position = f"{stream}:{chunk.cursor.generation}:{chunk.offset + match.start()}:{signal.name}"
    return SeenSignal(
        name=signal.name,
        position=position,
        line=_text(line)[:_LONGEST_TEXT],
        values=values,
        metadata=signal.metadata,
        mode=signal.mode,
        action=signal.action,
    )


def _text(raw: bytes) -> str:
    # No argument and no name can hold a zero byte, and the holes of an emptied log are full of them.
    return raw[:_LONGEST_VALUE].decode("utf-8", errors="replace").replace("\0", "\ufffd")
