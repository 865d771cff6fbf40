"""Patterns over what came new in a log."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from oellm_bench.core.result import ErrorMode
from oellm_bench.errors import Problem, nearest
from oellm_bench.monitoring.log_tail import Chunk
from oellm_bench.monitoring.settings import LogSignal, MonitoringConfig

_LONGEST_TEXT = 500  # of a matched line in the journal


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

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> SeenSignal:
        """Read what `to_document` wrote."""
        return cls(**document)


class Scanner:
    """The configured patterns, compiled once."""

    def __init__(self, signals: Sequence[LogSignal]) -> None:
        self._signals = [(signal, _compiled(signal)) for signal in signals]

    def scan(self, chunk: Chunk, stream: str, fired: frozenset[str]) -> Iterator[SeenSignal]:
        """Yield the matches in `chunk`, by pattern, then by place.

        `fired`: names of signals this attempt has had before; a `once` signal among them stays silent.
        """
        for signal, pattern in self._signals:
            if signal.once and signal.name in fired:
                continue
            for match in pattern.finditer(chunk.data):
                yield _seen(signal, match, chunk, stream)
                if signal.once:
                    break


def signal_problems(config: MonitoringConfig) -> list[Problem]:
    """Return what is wrong with the signals; `where` of a problem is its dotted key."""
    problems = []
    names = [signal.name for signal in config.log_signals]
    for index, signal in enumerate(config.log_signals):
        key = f"monitoring.log_signals.{index}"
        try:
            compiled = _compiled(signal)
            for name, group in signal.extract_groups.items():
                if group != "match" and group not in compiled.groupindex and not _is_number_of(group, compiled):
                    what = f"'{signal.pattern}' has no group {group!r} (for {name})"
                    fix = f"its groups are: {', '.join(compiled.groupindex) or compiled.groups or 'none'}; or match"
                    problems.append(Problem(what=what, where=f"{key}.extract_groups", fix=fix))
        except re.error as err:
            fix = "correct the pattern, or set pattern_type: substring"
            problems.append(
                Problem(
                    what=f"'{signal.pattern}' is no regular expression ({err})",
                    where=f"{key}.pattern",
                    fix=fix,
                )
            )
        modes = [mode.value for mode in ErrorMode]
        if signal.mode and signal.mode not in modes:
            what = f"'{signal.mode}' is no error mode"
            problems.append(Problem(what=what, where=f"{key}.mode", fix=nearest(signal.mode, modes)))
        if names.count(signal.name) > 1:
            what = f"two signals are called '{signal.name}'"
            problems.append(Problem(what=what, where=f"{key}.name", fix="rename one"))
    return problems


def _is_number_of(group: str | int, pattern: re.Pattern[bytes]) -> bool:
    return isinstance(group, int) and 0 <= group <= pattern.groups


def _compiled(signal: LogSignal) -> re.Pattern[bytes]:
    text = signal.pattern if signal.pattern_type == "regex" else re.escape(signal.pattern)
    return re.compile(text.encode(), re.MULTILINE)


def _seen(signal: LogSignal, match: re.Match[bytes], chunk: Chunk, stream: str) -> SeenSignal:
    start = chunk.data.rfind(b"\n", 0, match.start()) + 1
    end = chunk.data.find(b"\n", match.end())
    line = chunk.data[start : end if end >= 0 else len(chunk.data)]
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
    return raw.decode("utf-8", errors="replace")
