"""From signals in a log to the actions they ask for: pure."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

from oellm_bench.actions.commands import action_argv
from oellm_bench.core.events import ActionQueued, LogRead
from oellm_bench.core.plan import PlannedEntry
from oellm_bench.placeholders import value_text

_log = logging.getLogger(__name__)


def queued_actions(
    event: LogRead, planned: PlannedEntry, actions: Mapping[str, str | list[str]]
) -> Iterator[ActionQueued]:
    """Yield the actions that the signals of a log ask for, each under an id that is its own for good.

    An action that is not defined, or that asks for a value its signal does not have, is reported and left out.
    """
    for signal in event.signals:
        name = signal["action"]
        if not name:
            continue
        if name not in actions:
            _log.warning("signal %s asks for action '%s', which is not defined", signal["name"], name)
            continue
        try:
            argv = action_argv(actions[name], _values(planned, event.attempt, signal["values"]))
        except ValueError as err:
            _log.warning("action %s: %s", name, err)
            continue
        yield ActionQueued(
            at=event.at,
            id=f"{event.entry}/a{event.attempt}/{signal['position']}",
            entry=event.entry,
            attempt=event.attempt,
            name=name,
            argv=argv,
            metadata={**signal["metadata"], **signal["values"]},
        )


def _values(planned: PlannedEntry, attempt: int, values: Mapping[str, str]) -> dict[str, str]:
    """Return what an action's placeholders can use: the signal's groups, and the entry's own names."""
    own = {"entry_name": planned.name, "entry_id": planned.id, "attempt": str(attempt)}
    parameters = {key.rsplit(".", 1)[-1]: value_text(value) for key, value in planned.parameters.items()}
    return {**parameters, **own, **values}
