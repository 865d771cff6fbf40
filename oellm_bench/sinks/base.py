"""What a sink is: told when a session begins, when an entry has ended, and when all have."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from compoconf import RegistrableConfigInterface, register_interface

from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.errors import EXIT_UNREACHABLE, BenchError, Problem

CALL_LIMIT_S, DRAIN_S = 60.0, 60.0
# What sinks that were written for NeMo Curator's benchmarks look for in a result.
OLDER_NAMES = ("timeout", "script_params", "script_metrics", "tasks", "command", "stdouterr_file")


@dataclass(frozen=True, kw_only=True)
class SinkConfig(PluginConfig):
    """What every sink that talks to a service may be told."""

    timeout_s: float = option(
        "how long one call may take before its process is killed; the first has a minute more", CALL_LIMIT_S, unit="s"
    )
    drain_s: float = option(
        "how long the monitor goes on trying when all entries are over; `deliver` sends the rest", DRAIN_S, unit="s"
    )


class SinkError(BenchError):
    """The service of a sink said no, or said nothing; the text holds no secret."""

    exit_code = EXIT_UNREACHABLE


class TryAgain(SinkError):
    """The service works, and asks to be left alone for `after_s` seconds."""

    def __init__(self, message: str, after_s: float) -> None:
        super().__init__(message)
        self.after_s = after_s


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something for people to know. `key` is its own within the session; `entry` is a name, empty for the session.

    `kind`: `notice`; `restart` and `failure` where an attempt has ended and the entry goes on or does not.
    """

    key: str
    message: str
    at: float
    entry: str = ""
    attempt: int = 0
    kind: str = "notice"


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How many entries of the session do what; they add up to all of them."""

    waiting: int = 0
    running: int = 0
    passed: int = 0
    failed: int = 0


@register_interface
class Sink(RegistrableConfigInterface, abc.ABC):
    """One place results are sent to. Implementations take `(config)`; making one touches no disk and no network.

    Every call may come again after a crash: a sink keeps what it was told under the session's and the entry's
    name, so that hearing it twice changes nothing. It runs in a process of its own, and may block, fail and crash;
    one that is `direct` is cheap, local and called by the monitor itself.
    """

    direct: ClassVar[bool] = False

    def __init__(self, config: Any = None) -> None:
        self.config = config

    def problems(self) -> Sequence[Problem]:
        """Return what keeps this sink from working here and now, found without the network: a variable not set, ...

        `where` is the key below the sink's own. `plan` warns of them, `submit` refuses to begin.
        """
        return ()

    @abc.abstractmethod
    def initialize(self, session_name: str, env_data: Mapping[str, Any]) -> None:
        """Begin a session; `env_data` is session.json and `sink_name`, the name of this sink in the configuration."""

    @abc.abstractmethod
    def process_result(self, result: Mapping[str, Any]) -> None:
        """Take the result of one ended entry: EntryResult as plain values, and what `delivery` adds to it."""

    def notify(self, notice: Notice) -> None:
        """Take a notice; a sink that is not for people does nothing about it."""
        del notice

    def progress(self, progress: Progress) -> None:
        """Take the latest counts, each time an entry starts or ends; what came between two calls is not told."""
        del progress

    @abc.abstractmethod
    def finalize(self) -> None:
        """End the session."""
