"""Put a session's parts together: its scheduler, its submitter, its monitor."""

from __future__ import annotations

import os
import urllib.parse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from compoconf import Registry

from oellm_bench.actions.commands import ActionRunner
from oellm_bench.book import Book
from oellm_bench.builtins import load_all
from oellm_bench.cancelling import Canceller
from oellm_bench.clock import Clock, SystemClock
from oellm_bench.config.schema import SchedulerChoice, SinkChoice
from oellm_bench.config.typing import parse
from oellm_bench.core.plan import Plan, read_plan
from oellm_bench.delivery import Route, SinkDelivery
from oellm_bench.following import LogFollower
from oellm_bench.gates import CommandPool, Gates
from oellm_bench.monitor import Monitor
from oellm_bench.outbox import Outbox
from oellm_bench.report_writing import ReportWriter
from oellm_bench.requeueing import Requeuer
from oellm_bench.schedulers.base import Scheduler
from oellm_bench.session import Session
from oellm_bench.sink_channel import Channel, DirectChannel, ProcessChannel
from oellm_bench.sink_process import SinkProcess
from oellm_bench.sink_results import result_document
from oellm_bench.sinks.base import CALL_LIMIT_S, DRAIN_S, Sink
from oellm_bench.stalls import StallWatch
from oellm_bench.state.store import SessionStore
from oellm_bench.submission import Submitter
from oellm_bench.view import final_result
from oellm_bench.watch import WatchSettings, watch_settings

_DIRECT_DRAIN_S = 5.0  # a disk that refuses now will do so in a minute


def open_scheduler(session: Session) -> Scheduler:
    """Return the scheduler a session was planned for."""
    load_all()
    config = parse(SchedulerChoice, dict(session.scheduler), "slurm.client")
    scheduler: Scheduler = config.instantiate(Scheduler, session.state_layout.scheduler(config.class_name))
    return scheduler


def make_book(session: Session, plan: Plan) -> Book:
    """Return the book of a session's submissions."""
    return Book(
        session8=session.session8,
        plan=plan,
        layout=session.layout,
        max_parallel=session.max_parallel,
        max_submit=session.max_submit,
    )


def make_submitter(session: Session, plan: Plan, store: SessionStore, clock: Clock) -> Submitter:
    """Return what submits a session's entries."""
    return Submitter(
        book=make_book(session, plan),
        store=store,
        scheduler=open_scheduler(session),
        clock=clock,
        looked_up_since=session.looked_up_since,
    )


def make_gates(session: Session, plan: Plan, settings: Sequence[WatchSettings]) -> Gates:
    """Return the start and cancel conditions of a session's entries."""
    return Gates(plan, session.layout, settings, CommandPool())


def make_monitor(session: Session, actions: Mapping[str, str], clock: Clock | None = None) -> Monitor:
    """Return a monitor of a session; `actions` add to and replace the configured ones."""
    clock = clock or SystemClock()
    plan = read_plan(session.layout.sweep)
    store = session.store()
    submitter = make_submitter(session, plan, store, clock)
    settings = tuple(watch_settings(document, actions) for document in plan.watch)
    page = ReportWriter(session) if session.report and not store.state.finished else None
    return put_together(session, plan, submitter, settings, page)


def make_delivery(
    session: Session,
    plan: Plan,
    store: SessionStore,
    only: Collection[str] | None = None,
    page: ReportWriter | None = None,
) -> SinkDelivery:
    """Return what hands results to a session's sinks, or to those named in `only`; `page` is written before the end."""

    def make_result(entry_id: str, sink: str) -> Mapping[str, Any]:
        planned, entry = plan.by_id[entry_id], store.state.entries[entry_id]
        return result_document(final_result(planned, entry, session.layout), planned, entry, session.layout, sink)

    chosen = {name: document for name, document in session.sinks.items() if only is None or name in only}
    routes = {name: _route(session, name, document) for name, document in chosen.items()}
    return SinkDelivery(routes, Outbox(plan), make_result, page)


def _route(session: Session, name: str, document: Mapping[str, Any]) -> Route:
    config = parse(SinkChoice, dict(document), f"sinks.{name}")
    kind = cast(type[Sink], cast(Any, Registry).get_class(Sink, config.class_name))
    environment = {**asdict(session), "sink_name": name}
    channel: Channel
    if kind.direct:
        channel = DirectChannel(config.instantiate(Sink), session.id, environment)
    else:
        stem = session.layout.sinks / urllib.parse.quote(name, safe="")
        lock = f"{stem}.lock"
        head = {"name": name, "sink": document, "session_name": session.id, "environment": environment, "lock": lock}
        limit_s = float(document.get("timeout_s", CALL_LIMIT_S))
        channel = ProcessChannel(SinkProcess(name=name, head=head, log=Path(f"{stem}.log"), timeout_s=limit_s))
    return Route(
        channel=channel,
        drain_s=float(document.get("drain_s", _DIRECT_DRAIN_S if kind.direct else DRAIN_S)),
        wants_progress=kind.progress is not Sink.progress,
    )


def put_together(
    session: Session,
    plan: Plan,
    submitter: Submitter,
    settings: tuple[WatchSettings, ...],
    page: ReportWriter | None = None,
) -> Monitor:
    """Return a monitor around a submitter, on the same store, scheduler and clock."""
    monitoring = settings[0].monitoring
    return Monitor(
        session=session,
        plan=plan,
        store=submitter.store,
        scheduler=submitter.scheduler,
        submitter=submitter,
        requeuer=Requeuer(store=submitter.store, scheduler=submitter.scheduler, clock=submitter.clock),
        canceller=Canceller(
            plan=plan,
            layout=session.layout,
            store=submitter.store,
            scheduler=submitter.scheduler,
            clock=submitter.clock,
        ),
        settings=settings,
        gates=make_gates(session, plan, settings),
        follower=LogFollower(plan, session.layout, settings, embedded=session.is_embedded),
        stalls=StallWatch(plan, session.layout, settings),
        actions=ActionRunner(
            session.layout.root / "actions",
            timeout_s=monitoring.action_timeout_s,
            attempts=monitoring.action_attempts,
            environment=os.environ,
        ),
        delivery=make_delivery(session, plan, submitter.store, page=page),
        clock=submitter.clock,
    )
