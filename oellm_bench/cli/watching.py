"""The attached loop: one monitor, one session, until all is over."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from oellm_bench.assemble import make_monitor
from oellm_bench.cli.live import LiveTable
from oellm_bench.clock import SystemClock
from oellm_bench.errors import EXIT_DONE, EXIT_NOT_PASSED, EXIT_UNREACHABLE
from oellm_bench.monitor import Monitor
from oellm_bench.session import Session
from oellm_bench.state.lease import Lease
from oellm_bench.view import final_result

_SHORTEST_LEASE_S = 60.0


def watch(session: Session, *, interval_s: float | None, once: bool, actions: Mapping[str, str]) -> int:
    """Watch a session and return the exit code: 0 all passed, 1 some did not, 4 no answer (with `once`)."""
    clock = SystemClock()
    monitor = make_monitor(session, actions, clock)
    if monitor.store.state.finished:
        return exit_code(monitor)
    pause = monitor.settings[0].monitoring.interval_s if interval_s is None else interval_s
    lease = Lease(session.state_layout.lease(session.id), clock, length_s=max(3 * pause, _SHORTEST_LEASE_S))
    lease.acquire()
    try:
        with LiveTable(monitor) as live:
            while True:
                lease.renew()
                cycle = monitor.step()
                live.update()
                if cycle.finished or once:
                    break
                clock.sleep(pause)
    finally:
        lease.release()
    if not cycle.finished:
        return EXIT_DONE if cycle.answered else EXIT_UNREACHABLE
    return exit_code(monitor)


def exit_code(monitor: Monitor) -> int:
    """Return 0 where every entry passed and every sink worked, else 1."""
    plan, layout = monitor.plan, monitor.session.layout
    results = [final_result(plan.by_id[entry.id], entry, layout) for entry in monitor.store.state.entries.values()]
    for name, message in monitor.delivery.failed.items():
        sys.stderr.write(f"oellm-bench: sink {name} failed: {message}\n")
    passed = all(result.success for result in results) and not monitor.delivery.failed
    return EXIT_DONE if passed else EXIT_NOT_PASSED
