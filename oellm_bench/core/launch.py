"""What a backend hands over: a program, its environment and its folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from oellm_bench.core.resume import Resume


@dataclass(frozen=True, kw_only=True)
class LaunchCommand:
    """The command of one entry; strings may hold `{placeholders}`, which the planner fills in.

    `shell` marks argv as `bash -c LINE ...`: values filled into LINE are quoted as one shell word each.
    `cwd` empty means the folder the campaign was submitted from. `reads`: folders of the node, beside that one, that
    the command needs to see in a container too. `progress`: a regular expression with a group `iteration`, and others
    of any name, that matches the lines telling how far the command is. `resume`: how a later attempt goes on. `files`:
    text by name, which each attempt finds in `{session_entry_dir}`; in a .toml or .json file what is filled in stands
    inside of a string, and is escaped as such.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: str = ""
    shell: bool = False
    reads: tuple[str, ...] = ()
    progress: str = ""
    resume: Resume | None = None
    files: Mapping[str, str] = field(default_factory=dict)
