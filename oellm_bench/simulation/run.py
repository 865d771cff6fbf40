"""Run a campaign on the simulated cluster: the monitor itself, on a clock that is turned by hand."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import oellm_bench
from oellm_bench.assemble import make_book, put_together
from oellm_bench.clock import ManualClock, utc_text
from oellm_bench.core.events import Selected
from oellm_bench.core.plan import Plan
from oellm_bench.errors import UsageError
from oellm_bench.monitor import Monitor
from oellm_bench.session import Session
from oellm_bench.simulation.cluster import SimulatedCluster
from oellm_bench.simulation.luck import need
from oellm_bench.simulation.settings import SimulationConfig
from oellm_bench.submission import Submitter
from oellm_bench.watch import WatchSettings, watch_settings

# Looks that are left out at the most while nothing happens: pauses that only the monitor knows of are met so nearly.
_LONGEST_REST = 10
_LONGEST_S = 10 * 365 * 86400.0
# Looks at a campaign for which no interval is given, if all goes well: what makes it fast and leaves it fine enough.
_LOOKS = 300


@dataclass(kw_only=True)
class Simulation:
    """One campaign from its first submission to its end. Make it with `begin`."""

    session: Session
    plan: Plan
    settings: tuple[WatchSettings, ...]
    cluster: SimulatedCluster
    clock: ManualClock
    began_at: float
    looks: int = 0

    def open_monitor(self) -> Monitor:
        """Return a monitor of the session as a new process would: all that it knows is on disk."""
        submitter = Submitter(
            book=make_book(self.session, self.plan),
            store=self.session.store(),
            scheduler=self.cluster,
            clock=self.clock,
            looked_up_since=self.session.looked_up_since,
        )
        return put_together(self.session, self.plan, submitter, self.settings)

    def run(self, interval_s: float) -> Monitor:
        """Look until all is over, `interval_s` apart at the least, and return the monitor.

        Raises UsageError for a campaign that comes to no end in ten years.
        """
        monitor = self.open_monitor()
        while not self.look(monitor, interval_s):
            if self.clock.now() - self.began_at > _LONGEST_S:
                raise UsageError("the campaign is not over after ten simulated years; give it a budget of restarts")
        return monitor

    def look(self, monitor: Monitor, interval_s: float) -> bool:
        """Make one look, turn the clock to the next one, and tell whether all is over.

        Where a look has found nothing new the next one waits until something happens on the cluster.
        """
        before = self._journalled()
        self.looks += 1
        if monitor.step().finished:
            return True
        rest = 1
        if self._journalled() == before:
            ahead_s = self.cluster.next_event_at() - self.clock.now()
            rest = min(max(1, math.ceil(min(ahead_s / interval_s, _LONGEST_REST))), _LONGEST_REST)
        self.clock.sleep(rest * interval_s)
        return False

    def _journalled(self) -> int:
        """Return how long the journal is: nothing is new that is not in there."""
        return self.session.state_layout.journal(self.session.id).stat().st_size


def begin(plan: Plan, config: SimulationConfig, folder: Path, *, seed: int) -> Simulation:
    """Return a campaign of which nothing is submitted yet, in a folder of its own."""
    clock = ManualClock()
    session = Session(
        id=f"simulated_{seed}",
        session8=f"{seed % 16**8:08x}",
        project=plan.project,
        fingerprint=plan.fingerprint,
        session_dir=str(folder / f"simulated_{seed}"),
        state_dir=str(folder / ".oellm-bench"),
        created_at=clock.now(),
        created=utc_text(clock.now()),
        entries=len(plan.entries),
        scheduler={"class_name": SimulatedCluster.__name__},
        sinks={},
        max_parallel=None,
        versions={"oellm_bench": oellm_bench.__version__},
        git={},
        command_line=(),
    )
    session.layout.root.mkdir(parents=True)
    settings = tuple(watch_settings(document, {}) for document in plan.watch)
    store = session.store()
    with store.locked():
        store.append(Selected(at=clock.now(), entries=tuple(entry.id for entry in plan.entries)))
    cluster = SimulatedCluster(plan.entries, session.layout, config, settings, seed=seed, clock=clock)
    return Simulation(session=session, plan=plan, settings=settings, cluster=cluster, clock=clock, began_at=clock.now())


def sensible_interval_s(plan: Plan, config: SimulationConfig, seed: int) -> float:
    """Return the pause between two looks where none is named: the configured one.

    For a campaign that would take very many looks so, whole minutes that make it a few hundred.
    """
    configured_s = float(min(document["monitoring"]["interval_s"] for document in plan.watch))
    cluster = config.cluster
    busy_s = longest_s = 0.0
    for entry in plan.entries:
        work_s = need(seed, entry.name, config.jobs).work_s
        busy_s += work_s * (entry.resources.gpus or entry.resources.nodes * cluster.gpus_per_node)
        longest_s = max(longest_s, work_s)
    least_s = max(busy_s / (cluster.nodes * cluster.gpus_per_node), longest_s)
    return configured_s if least_s <= _LOOKS * configured_s else math.ceil(least_s / _LOOKS / 60) * 60.0
