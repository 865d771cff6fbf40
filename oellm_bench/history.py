"""What the past of an entry and of its campaign says to the policies: pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from oellm_bench.core.plan import PlannedEntry
from oellm_bench.core.result import ErrorMode
from oellm_bench.restart.base import Failure
from oellm_bench.restart.nodes import NodeFailure
from oellm_bench.restart.settings import RestartConfig
from oellm_bench.state.model import EntryState, SessionState


def failure(planned: PlannedEntry, entry: EntryState, avoid: tuple[str, ...], config: RestartConfig) -> Failure:
    """Return the facts about an entry whose last attempt has ended badly; `avoid`: the nodes to stay away from.

    An attempt that only waited in vain for others was no restart, nor one that was refused.
    """
    attempt = entry.attempts[-1]
    assert attempt.mode is not None
    never_ran = (ErrorMode.DEPENDENCY_FAILED, ErrorMode.SUBMIT_REJECTED)
    ran = [earlier for earlier in entry.counted[:-1] if earlier.mode not in never_ran]
    told = (str(signal["metadata"].get("subsystem", "")) for signal in attempt.signals)
    return Failure(
        entry=entry.id,
        mode=attempt.mode,
        reason=attempt.reason,
        attempt=attempt.number,
        restarts=len(ran),
        restarts_for_mode=entry.restarts_for(attempt.mode),
        signals=frozenset(filter(None, (attempt.cause, *(signal["name"] for signal in attempt.signals)))),
        subsystems=frozenset(filter(None, (attempt.subsystem, *told))),
        memory=planned.memory,
        bad_nodes=() if planned.pinned else avoid,
        without_progress=without_progress(entry),
        lately=sum(attempt.over_at - earlier.over_at <= config.window_s for earlier in ran),
    )


def node_failures(state: SessionState) -> Iterator[NodeFailure]:
    """Yield every attempt of the campaign that ended badly, and where it ran."""
    for entry in state.entries.values():
        for attempt in entry.attempts:
            if attempt.mode is not None and attempt.mode is not ErrorMode.SUCCESS:
                yield NodeFailure(mode=attempt.mode, nodes=attempt.nodes, at=attempt.over_at)


def without_progress(entry: EntryState) -> int:
    """Return how many attempts in a row, to the last one, got no further than the best before them.

    One that told of no iteration says nothing either way, and begins the count anew.
    """
    count, best = 0, None
    for iteration in (attempt.iteration for attempt in entry.counted):
        if iteration is None:
            count = 0
        elif best is not None and iteration <= best:
            count += 1
        else:
            best, count = iteration, 0
    return count


def brake(state: SessionState, config: RestartConfig, expected: Collection[str] = ()) -> str:
    """Return why no more entries are to be started, empty where they are. `expected`: ids of those that are to fail.

    A cancel by a person is no failure, nor is what was given up because of another entry.
    """
    over = [e for e in state.entries.values() if e.over and not e.cancelled and e.given_up is None]
    if len(over) < config.brake_after or config.max_failed_share >= 1:
        return ""
    counted = (entry for entry in over if entry.id not in expected)
    failed = sum(entry.last is None or entry.last.mode is not ErrorMode.SUCCESS for entry in counted)
    if failed <= config.max_failed_share * len(over):
        return ""
    share = f"more than {config.max_failed_share:.0%}"
    return f"{failed} of {len(over)} entries that are over have failed, {share}: no more are started"
