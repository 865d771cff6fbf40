"""From signals in a log to what they ask for: pure."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping

from oellm_bench.actions.base import Action, Occasion
from oellm_bench.core.events import Event, LogRead
from oellm_bench.core.plan import PlannedEntry
from oellm_bench.placeholders import value_text

_log = logging.getLogger(__name__)


def asked_for(
    event: LogRead, planned: PlannedEntry, actions: Mapping[str, Action], session: str, *, embedded: bool
) -> Iterator[Event]:
    """Yield what the signals of a log ask for, each under an id that is its own for good.

    An action that is not defined, or that asks for a value its signal does not have, is reported and left out.
    """
    for signal in event.signals:
        name = signal["action"]
        if not name:
            continue
        if name not in actions:
            _log.warning("signal %s asks for action '%s', which is not defined", signal["name"], name)
            continue
        occasion = Occasion(
            id=f"{event.entry}/a{event.attempt}/{signal['position']}",
            at=event.at,
            entry=event.entry,
            attempt=event.attempt,
            name=name,
            signal=signal["name"],
            values=_values(planned, event.attempt, signal["name"], signal["values"]),
            metadata={**signal["metadata"], **signal["values"]},
            session=session,
            embedded=embedded,
        )
        try:
            yield from actions[name].events(occasion)
        except ValueError as err:
            _log.warning("action %s: %s", name, err)


def _values(planned: PlannedEntry, attempt: int, signal: str, values: Mapping[str, str]) -> dict[str, str]:
    """Return what an action's placeholders can use: the signal's groups, and the entry's own names."""
    own = {"entry_name": planned.name, "entry_id": planned.id, "attempt": str(attempt), "signal": signal}
    parameters = {key.rsplit(".", 1)[-1]: value_text(value) for key, value in planned.parameters.items()}
    return {**parameters, **own, **values}
