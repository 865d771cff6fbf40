"""What the runner tells the observer."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Task:
    """One attempt to watch.

    `scripts`: checksums of the files that the command names, by path.
    `root` is the process whose descendants are watched, `entry_dir` and `attempt` tell those that srun has started.
    `stop_order`: the file that says that it will be cancelled for a stall (empty: nobody wants the stacks).
    `packages_argv` lists what is installed (empty: nobody wants to know), run in `cwd`;
    `packages_kept` is the folder where entries share what it said (empty: they do not). `image`: the container's.
    `progress`: a regular expression with a group `iteration`, looked for in `logs`; empty: none.
    """

    scripts: dict[str, str]
    root: int
    entry_dir: str
    attempt: int
    artifacts: str
    heartbeat: str
    stacks: str
    stop_order: str
    logs: list[str]
    interval_s: float
    progress: str
    packages_argv: list[str]
    packages_environment: dict[str, str]
    packages_kept: str
    cwd: str
    image: str
    session_file: str
