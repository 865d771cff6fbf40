"""Sinks of other packages that know nothing of this one: a class with three methods, named by an entry point."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import EntryPoint
from typing import Any, ClassVar, cast

from compoconf import Registry, register, registered

from oellm_bench.core.option import option
from oellm_bench.errors import ConfigError, Problem
from oellm_bench.sinks.base import Notice, Progress, Sink, SinkConfig


@dataclass(frozen=True, kw_only=True)
class OwnSinkConfig(SinkConfig):
    """Whatever the class takes; keys that are not ours land in `options`."""

    catch_all: ClassVar[str] = "options"

    options: dict[str, Any] = option("every other key, handed to the sink as it stands", factory=dict)


class OwnSink(Sink):
    """Calls an object of a class `(config: dict)` with `initialize`, `process_result` and `finalize`.

    `notify` and `progress` are called where the class has them. Its module is imported only where it is made.
    """

    point: ClassVar[EntryPoint]
    config: OwnSinkConfig

    def __init__(self, config: OwnSinkConfig) -> None:
        self.config = config
        given = {"name": config.class_name, "enabled": True, **config.options}
        try:
            self._sink = self.point.load()({**given, "timeout_s": config.timeout_s, "drain_s": config.drain_s})
        except Exception as err:  # whatever a foreign constructor says against its configuration
            what = f"{config.class_name} cannot be made ({str(err) or type(err).__name__})"
            raise ConfigError(Problem(what=what, fix="correct its values")) from err

    def initialize(self, session_name: str, env_data: Mapping[str, Any]) -> None:
        """Begin a session."""
        self._sink.initialize(session_name, env_data)

    def process_result(self, result: Mapping[str, Any]) -> None:
        """Hand over a result."""
        self._sink.process_result(result)

    def notify(self, notice: Notice) -> None:
        """Hand over a notice as a mapping, where that is wanted."""
        if hasattr(self._sink, "notify"):
            self._sink.notify(notice if isinstance(self._sink, Sink) else asdict(notice))

    def progress(self, progress: Progress) -> None:
        """Hand over the counts as a mapping, where they are wanted."""
        if hasattr(self._sink, "progress"):
            self._sink.progress(progress if isinstance(self._sink, Sink) else asdict(progress))

    def finalize(self) -> None:
        """End the session."""
        self._sink.finalize()


def register_class(point: EntryPoint) -> None:
    """Make a class known by the name of its entry point. Raises ValueError where that is taken."""
    if point.name in registered(Sink):
        known: Any = cast(Any, Registry).get_class(Sink, point.name)
        if issubclass(known, OwnSink) and known.point == point:
            return
        raise ValueError(f"there is a sink {point.name} already")
    schema = type(f"{point.name}Config", (OwnSinkConfig,), {"__module__": point.module})
    config: Any = dataclass(frozen=True, kw_only=True)(schema)
    body = {"__module__": point.module, "__annotations__": {"config": config}, "point": point}
    cast(Any, register)(type(point.name, (OwnSink,), body))
