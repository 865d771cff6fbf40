"""Conditions on files: that they are there, how many of them, and what is in them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass

from compoconf import register

from oellm_bench.conditions.base import Condition, Facts, Finding, at_least, not_empty
from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.errors import Problem
from oellm_bench.matching import matching

_MOST_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class FileExistsConfig(PluginConfig):
    """A file or folder is there."""

    path: str = option("the path; {placeholders} are filled in")
    min_bytes: int = option("least size of a file", 0, unit="bytes")


@register
class FileExistsCondition(Condition):
    """Holds while the path is there, and no smaller than asked for."""

    config: FileExistsConfig

    def __init__(self, config: FileExistsConfig) -> None:
        self.config = config

    def templates(self) -> Sequence[str]:
        """Return the path."""
        return (self.config.path,)

    def validate(self) -> Sequence[Problem]:
        """Refuse a path that is none, and a size below 0."""
        return [*not_empty("path", self.config.path), *at_least("min_bytes", self.config.min_bytes, 0)]

    def check(self, facts: Facts) -> Finding:
        """Look for the path."""
        path = facts.path(self.config.path)
        try:
            found = path.stat()
        except OSError as err:
            return Finding(holds=False, reason=f"{path}: {err.strerror}")
        if found.st_size < self.config.min_bytes:
            return Finding(holds=False, reason=f"{path} has less than {self.config.min_bytes} bytes")
        return Finding(holds=True, reason=f"{path} is there")


@dataclass(frozen=True, kw_only=True)
class GlobExistsConfig(PluginConfig):
    """Enough files fit a pattern."""

    pattern: str = option("pattern with *, ? and ** over folders; {placeholders} are filled in")
    min_matches: int = option("how many files have to fit", 1)


@register
class GlobExistsCondition(Condition):
    """Holds while at least so many paths fit."""

    config: GlobExistsConfig

    def __init__(self, config: GlobExistsConfig) -> None:
        self.config = config

    def templates(self) -> Sequence[str]:
        """Return the pattern."""
        return (self.config.pattern,)

    def validate(self) -> Sequence[Problem]:
        """Refuse a pattern that is none, and a number that asks for nothing."""
        return [*not_empty("pattern", self.config.pattern), *at_least("min_matches", self.config.min_matches, 1)]

    def check(self, facts: Facts) -> Finding:
        """Count the paths, no further than needed."""
        pattern, count = facts.pattern(self.config.pattern), 0
        for _ in matching(pattern):
            count += 1
            if count >= self.config.min_matches:
                break
        holds = count >= self.config.min_matches
        words = "at least" if holds else "fewer than"
        return Finding(holds=holds, reason=f"{words} {self.config.min_matches} files fit {pattern}")


@dataclass(frozen=True, kw_only=True)
class FileContentConfig(PluginConfig):
    """A file says something; its last MiB is read."""

    path: str = option("the path; {placeholders} are filled in")
    contains: str = option("text that has to be in it; empty: use pattern", "")
    pattern: str = option("regular expression that has to fit a line; empty: use contains", "")


@register
class FileContentCondition(Condition):
    """Holds while the file has the text in it, or a line that fits."""

    config: FileContentConfig

    def __init__(self, config: FileContentConfig) -> None:
        self.config = config

    def validate(self) -> Sequence[Problem]:
        """Refuse none or both of text and pattern, and a pattern that is none."""
        if bool(self.config.contains) == bool(self.config.pattern):
            return [Problem(what="either contains or pattern is needed", where="contains", fix="give one of them")]
        try:
            re.compile(self.config.pattern)
        except re.error as err:
            what = f"'{self.config.pattern}' is no regular expression ({err})"
            return [Problem(what=what, where="pattern", fix="correct it, or use contains")]
        return []

    def templates(self) -> Sequence[str]:
        """Return path and text; braces of a regular expression are its own."""
        return (self.config.path, self.config.contains)

    def check(self, facts: Facts) -> Finding:
        """Read the end of the file."""
        path = facts.path(self.config.path)
        try:
            if not path.is_file():  # a pipe would have us wait for its writer
                return Finding(holds=False, reason=f"{path} is no file")
            with path.open("rb") as stream:
                stream.seek(max(os.fstat(stream.fileno()).st_size - _MOST_BYTES, 0))
                text = stream.read(_MOST_BYTES).decode(errors="replace")
        except OSError as err:
            return Finding(holds=False, reason=f"{path}: {err.strerror}")
        if self.config.pattern:
            holds = re.search(self.config.pattern, text, re.MULTILINE) is not None
        else:
            holds = facts.fill(self.config.contains) in text
        wanted = self.config.pattern or self.config.contains
        return Finding(holds=holds, reason=f"{path} {'has' if holds else 'does not have'} '{wanted}' in it")
