"""The actions that come with the package."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from compoconf import register

from oellm_bench.actions.base import Action, Occasion
from oellm_bench.actions.commands import action_argv
from oellm_bench.core.events import ActionQueued, CancelAsked, Noticed
from oellm_bench.core.option import option
from oellm_bench.core.plugin import PluginConfig
from oellm_bench.core.result import ErrorMode
from oellm_bench.errors import Problem, nearest
from oellm_bench.placeholders import names_in, printable

_INTERPOLATION = re.compile(r"(\\*)\$\{")


@dataclass(frozen=True, kw_only=True)
class CommandActionConfig(PluginConfig):
    """Run a command beside the monitor; a line or a list in place of the mapping is one too."""

    command: str | list[str] = option("a line, split into arguments, or a list; {placeholders} are one argument each")


@register
class CommandAction(Action):
    """Run a command where the monitor runs."""

    config: CommandActionConfig

    def __init__(self, config: CommandActionConfig) -> None:
        self.config = config

    def validate(self) -> Sequence[Problem]:
        """Refuse a command that is none, or that cannot be split."""
        try:
            argv = action_argv(self.config.command, str)
        except ValueError as err:
            return [Problem(what=str(err), where="command", fix="close every quote and every brace")]
        return [] if argv else [Problem(what="there is no command", where="command", fix="give one")]

    def events(self, occasion: Occasion) -> Iterator[ActionQueued]:
        """Queue the command."""
        yield _queued(occasion, action_argv(self.config.command, occasion.values.get))


@dataclass(frozen=True, kw_only=True)
class SubmitActionConfig(PluginConfig):
    """Submit another campaign, as `oellm-bench submit` does."""

    config: str = option("name of its root configuration")
    config_dir: str = option("folder in front of the packaged configuration (-C); empty: none", "")
    overrides: list[str] = option("overrides (-o); a value with {placeholders} is filled in, and is text", factory=list)
    watch: bool = option("stay until the other campaign has ended, within action_timeout_s", False)


@register
class SubmitAction(Action):
    """Submit another configuration: train, then convert, then evaluate.

    Done twice for one signal it goes on with the session that the first try has made, or leaves it at its end.
    """

    config: SubmitActionConfig

    def __init__(self, config: SubmitActionConfig) -> None:
        self.config = config

    def validate(self) -> Sequence[Problem]:
        """Refuse what would leave it to a log which key is set."""
        return [
            Problem(what=f"'{override}' has a placeholder in its key", where="overrides", fix="write the key out")
            for override in self.config.overrides
            if names_in(override.partition("=")[0])
        ]

    def events(self, occasion: Occasion) -> Iterator[ActionQueued]:
        """Queue the call of `oellm-bench submit`."""
        folder = ("-C", self.config.config_dir) if self.config.config_dir else ()
        overrides = (part for override in self.config.overrides for part in ("-o", _override(override, occasion)))
        flags = (
            "--yes",
            "--request",
            f"{occasion.session}/{occasion.id}",
            *(["--fake"] if occasion.embedded else ()),
            *(["--monitor"] if self.config.watch else ()),
        )
        argv = (sys.executable, "-P", "-m", "oellm_bench", "submit", self.config.config)
        yield _queued(occasion, (*argv, *folder, *overrides, *flags))


@dataclass(frozen=True, kw_only=True)
class CancelActionConfig(PluginConfig):
    """Cancel the entry."""

    reason: str = option("text for the journal and the report", "")


@register
class CancelAction(Action):
    """Cancel the entry for good."""

    config: CancelActionConfig

    def __init__(self, config: CancelActionConfig) -> None:
        self.config = config

    def events(self, occasion: Occasion) -> Iterator[CancelAsked]:
        """Ask for the cancel."""
        yield _ending(occasion, "action", ErrorMode.CANCELLED, self.config.reason)


@dataclass(frozen=True, kw_only=True)
class RestartActionConfig(PluginConfig):
    """End the attempt and start the entry anew."""

    mode: str = option(
        "error mode the attempt is judged as, whose policy decides; empty: crash, and restarted whatever its policy",
        "",
    )
    reason: str = option("text for the journal and the report", "")


@register
class RestartAction(Action):
    """End the attempt; another follows within the entry's budgets (restart.max_restarts and its like)."""

    config: RestartActionConfig

    def __init__(self, config: RestartActionConfig) -> None:
        self.config = config

    def validate(self) -> Sequence[Problem]:
        """Refuse a mode that is none, or that is no failure."""
        modes = [mode.value for mode in ErrorMode if mode not in (ErrorMode.SUCCESS, ErrorMode.CANCELLED)]
        if self.config.mode in ("", *modes):
            return []
        what = f"'{self.config.mode}' is no error mode that a restart can follow"
        return [Problem(what=what, where="mode", fix=nearest(self.config.mode, modes))]

    def events(self, occasion: Occasion) -> Iterator[CancelAsked]:
        """Ask for the attempt's end."""
        by = "policy" if self.config.mode else "restart"
        yield _ending(occasion, by, ErrorMode(self.config.mode or ErrorMode.CRASH.value), self.config.reason)


@dataclass(frozen=True, kw_only=True)
class FinishActionConfig(PluginConfig):
    """End the entry: it has done what it was to do."""

    reason: str = option("text for the journal and the report", "")


@register
class FinishAction(Action):
    """End the attempt as a success: it converged, or it has done enough."""

    config: FinishActionConfig

    def __init__(self, config: FinishActionConfig) -> None:
        self.config = config

    def events(self, occasion: Occasion) -> Iterator[CancelAsked]:
        """Ask for the attempt's end."""
        yield _ending(occasion, "finish", ErrorMode.SUCCESS, self.config.reason)


@dataclass(frozen=True, kw_only=True)
class NotifyActionConfig(PluginConfig):
    """Tell people."""

    message: str = option("what to tell, beside the entry's name; {placeholders} are filled in", "signal {signal}")


@register
class NotifyAction(Action):
    """Tell people through the monitor, `status` and the sinks."""

    config: NotifyActionConfig

    def __init__(self, config: NotifyActionConfig) -> None:
        self.config = config

    def events(self, occasion: Occasion) -> Iterator[Noticed]:
        """Give notice."""
        yield Noticed(
            at=occasion.at,
            key=occasion.id,
            entry=occasion.entry,
            attempt=occasion.attempt,
            message=printable(occasion.fill(self.config.message)),
        )


def _override(template: str, occasion: Occasion) -> str:
    """Return an override; one with placeholders becomes a text in quotes, whatever a log has put into it.

    Neither a list of values, nor a choice, nor an interpolation that would be looked up.
    """
    key, equals, value = template.partition("=")
    if not names_in(value):
        return template
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    # An interpolation is taken literally behind an odd number of backslashes (omegaconf grammar).
    literal = _INTERPOLATION.sub(lambda found: found[1] * 2 + "\\${", occasion.fill(value))
    hydra = importlib.import_module("hydra.core.override_parser.types")  # slow to import, and rarely needed
    return f"{key}{equals}{hydra.QuotedString(literal, hydra.Quote.single).with_quotes()}"


def _queued(occasion: Occasion, argv: tuple[str, ...]) -> ActionQueued:
    return ActionQueued(
        at=occasion.at,
        id=occasion.id,
        entry=occasion.entry,
        attempt=occasion.attempt,
        name=occasion.name,
        argv=argv,
        metadata=dict(occasion.metadata),
    )


def _ending(occasion: Occasion, by: str, mode: ErrorMode, reason: str) -> CancelAsked:
    text = f"signal {occasion.signal}, action {occasion.name}"
    return CancelAsked(
        at=occasion.at,
        entry=occasion.entry,
        attempt=occasion.attempt,
        by=by,
        mode=mode.value,
        reason=f"{reason} ({text})" if reason else text,
    )
