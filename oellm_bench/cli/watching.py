"""The attached loop: one monitor, one session, until all is over."""

from __future__ import annotations

import logging
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from oellm_bench.assemble import make_monitor
from oellm_bench.cli.live import LiveTable
from oellm_bench.clock import Clock, SystemClock
from oellm_bench.core.expectation import expectation_note, is_as_expected
from oellm_bench.core.plan import Plan
from oellm_bench.core.result import EntryResult
from oellm_bench.errors import EXIT_DONE, EXIT_NOT_PASSED, EXIT_UNREACHABLE, AlreadyWatched
from oellm_bench.monitor import Cycle, Monitor
from oellm_bench.outbox import leftovers
from oellm_bench.report_writing import ReportWriter
from oellm_bench.session import Session
from oellm_bench.shared_ray import SharedRay, shared_ray
from oellm_bench.state.lease import Lease
from oellm_bench.view import final_result

_log = logging.getLogger(__name__)
_LONGEST_PAUSE_S = 60.0  # between two looks, where no other is given; a lease lasts three of them
_RENEW_S = 5.0
_SHORTEST_PACE_S = 60.0  # however short the pauses are: three of these on a busy machine are no sleep
_DELIVERY_S = 0.1  # between two looks at what sinks have answered
_LOOK_S = 0.2  # between two looks at commands of conditions, with `once`


def watch(session: Session, *, interval_s: float | None, once: bool, actions: Mapping[str, str]) -> int:
    """Watch a session and return the exit code: 0 all passed, 1 some did not, 4 no answer (with `once`)."""
    clock = SystemClock()
    longest = max(interval_s or 0.0, _LONGEST_PAUSE_S)
    lease = Lease(session.state_layout.lease(session.id), clock, length_s=3 * longest)
    # The lease comes first: what is read before it is held may be over by the time it is.
    try:
        lease.acquire()
    except AlreadyWatched as err:
        if not once:
            raise
        sys.stderr.write(f"oellm-bench: {err}\n")  # a look from cron beside a monitor that runs: nothing is amiss
        return EXIT_DONE
    try:
        monitor = make_monitor(session, actions, clock)
        if monitor.store.state.finished:
            if not session.layout.journal.exists():  # its monitor was killed just before
                monitor.store.archive()
            return exit_code(monitor)
        monitor.store.guard = _renewing(lease, clock)
        try:
            with shared_ray(session.layout, monitor.plan) as head:
                cycle = _watch(monitor, lease, head, interval_s, once=once)
                if cycle.finished:
                    head.end()
        finally:
            monitor.close()
    finally:
        lease.release()
    if not cycle.finished:
        return EXIT_DONE if cycle.answered else EXIT_UNREACHABLE
    untold = leftovers(session.sinks, monitor.plan, monitor.store.state)
    if session.report and untold:  # the page was written before that was known
        _write_anew(ReportWriter(session), clock)
    return exit_code(monitor)


def _write_anew(page: ReportWriter, clock: Clock) -> None:
    try:
        while not page.is_done():
            clock.sleep(_DELIVERY_S)
    finally:
        page.close()


def _watch(monitor: Monitor, lease: Lease, head: SharedRay, interval_s: float | None, *, once: bool) -> Cycle:
    pause = interval_s
    if pause is None:
        pause = min(monitor.settings[0].monitoring.interval_s, monitor.scheduler.longest_pause_s)
    monitor.pace_s = max(pause, _SHORTEST_PACE_S)
    with LiveTable(monitor) as live:
        while True:
            lease.renew()
            head.ensure()  # before a step submits who uses it
            cycle = monitor.step()
            live.update()
            while once and not cycle.finished and not monitor.gates.has_answered:
                monitor.clock.sleep(_LOOK_S)  # one look is one answer of each condition
                monitor.look_at_gates()
            cycle = _delivered(monitor, lease, cycle, once=once)
            if cycle.finished or once:
                return cycle
            monitor.scheduler.wait(pause, monitor.clock)


def _delivered(monitor: Monitor, lease: Lease, cycle: Cycle, *, once: bool) -> Cycle:
    """Wait for the sinks where nothing else is waited for, or where this is the only look."""
    while cycle.delivering or (once and not cycle.finished and monitor.delivery.busy):
        monitor.clock.sleep(_DELIVERY_S)
        lease.renew()
        cycle = monitor.finish(cycle)
    return cycle


def _renewing(lease: Lease, clock: Clock) -> Callable[[], None]:
    """Return a guard that keeps the lease through a long cycle, and stops it where the lease was lost."""
    renewed = clock.now()

    def guard() -> None:
        nonlocal renewed
        if clock.now() - renewed > _RENEW_S:
            lease.renew()
            renewed = clock.now()

    return guard


def exit_code(monitor: Monitor) -> int:
    """Return 0 where every entry ended as expected and every sink worked, else 1."""
    plan, layout = monitor.plan, monitor.session.layout
    results = [final_result(plan.by_id[entry.id], entry, layout) for entry in monitor.store.state.entries.values()]
    untold = leftovers(monitor.session.sinks, plan, monitor.store.state)
    for leftover in untold:
        line = monitor.delivery.untold(leftover)
        sys.stderr.write(f"oellm-bench: {line}; `oellm-bench deliver {monitor.session.id}` tries again\n")
    undone = [action for action in monitor.store.state.actions.values() if not action.done]
    for action in undone:
        sys.stderr.write(f"oellm-bench: action {action.queued.name} failed: {action.message}\n")
    for result in results:
        if result.success and plan.by_id[result.id].expected_failure:
            note = expectation_note(plan.by_id[result.id].expected_failure, result.error_mode)
            sys.stderr.write(f"oellm-bench: {result.name} {note}\n")
    as_expected = all(is_as_expected(plan.by_id[result.id].expected_failure, result.error_mode) for result in results)
    sys.stderr.write(f"{summary(results, plan)}; {layout.root}\n")
    return EXIT_DONE if as_expected and not untold and not undone else EXIT_NOT_PASSED


def summary(results: Sequence[EntryResult], plan: Plan) -> str:
    """Return how a session went in one line."""
    passed = sum(result.success for result in results)
    badly = [result for result in results if not result.success]
    modes = Counter(
        result.error_mode
        for result in badly
        if not is_as_expected(plan.by_id[result.id].expected_failure, result.error_mode)
    )
    expected = len(badly) - modes.total()
    failed = ", ".join(f"{count} {mode}" for mode, count in modes.most_common())
    restarted = sum(result.attempt > 1 for result in results)
    words = [f"{passed} of {len(results)} passed", *([f"{expected} failed as expected"] if expected else [])]
    words += [failed] if failed else []
    words += [f"{restarted} restarted"] if restarted else []
    left = len(plan.entries) - len(results)
    return ", ".join([*words, *([f"{left} of {len(plan.entries)} not submitted"] if left else [])])
