"""The simulated cluster: a scheduler whose jobs are nothing but draws of luck and a few files."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import partial

from oellm_bench.clock import Clock
from oellm_bench.core.hostlist import node_names
from oellm_bench.core.job import JobId, JobState, Snapshot
from oellm_bench.core.layout import SessionLayout
from oellm_bench.core.plan import PlannedEntry
from oellm_bench.errors import QueueFull, SchedulerUnavailable, SubmissionRejected, SubmissionUnclear
from oellm_bench.schedulers.base import Limits, Scheduler, SubmitRequest
from oellm_bench.simulation import luck
from oellm_bench.simulation.job import SimulatedJob, read_request
from oellm_bench.simulation.life import Conditions, account, life
from oellm_bench.simulation.nodes import Nodes
from oellm_bench.simulation.records import Records
from oellm_bench.simulation.settings import SimulationConfig
from oellm_bench.simulation.traces import Traces
from oellm_bench.simulation.waiting import Dependency, WaitingLine, read_dependency
from oellm_bench.watch import WatchSettings

_NO_CONTACT = "Unable to contact slurm controller (connect failure)"
_TIMED_OUT = "Socket timed out on send/recv operation"
_STATES = {
    "success": JobState.COMPLETED,
    "time_limit": JobState.TIMEOUT,
    "node_fail": JobState.NODE_FAIL,
    "preempted": JobState.PREEMPTED,
    "oom": JobState.OUT_OF_MEMORY,
    "memory": JobState.OUT_OF_MEMORY,
    "cancelled": JobState.CANCELLED,
}


class SimulatedCluster(Scheduler):
    """One session's cluster. All that has happened by the clock's time has happened whenever anything is asked.

    `runs` are all that ever were, each job once and again each time it was requeued; `calls` are the commands spent. A
    submission names its script, and with an array its tasks: that is how the entry is known.
    """

    def __init__(
        self,
        entries: Sequence[PlannedEntry],
        layout: SessionLayout,
        config: SimulationConfig,
        settings: Sequence[WatchSettings],
        *,
        seed: int,
        clock: Clock,
    ) -> None:
        self.runs: list[SimulatedJob] = []
        self.calls = 0
        self._jobs: dict[JobId, SimulatedJob] = {}
        self._records = Records(config.controller)
        self._runs_of = Counter[str]()
        self._entries = {(str(layout.root / entry.script), entry.task): entry for entry in entries}
        self._needs = {entry.id: luck.need(seed, entry.name, config.jobs) for entry in entries}
        self._done_s = dict.fromkeys(self._needs, 0.0)  # what the checkpoints of an entry hold
        self._config, self._settings, self._seed, self._clock = config, settings, seed, clock
        self._nodes = Nodes(config.cluster)
        self._bad = luck.bad_nodes(seed, config.cluster)
        self._outages = luck.Outages(seed, config.controller, clock.now())
        self._line = WaitingLine()
        self._traces = Traces(layout)
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._numbers, self._order = itertools.count(1), itertools.count()
        self._trials = Counter[str]()
        self._unfinished = 0

    def submit(self, request: SubmitRequest) -> JobId:
        """Take the job; now and then its answer is lost, and it comes late or never."""
        now = self._call()
        jobs = self._asked_for(request, now)
        text = request.options.get("dependency")
        dependency = read_dependency(text, self._jobs) if text else None
        self._answer(request.name, partial(self._arrive, jobs, dependency, request.max_parallel), now)
        return JobId(jobs[0].job_id.job)

    def requeue(self, job_id: JobId) -> None:
        """Put an ended job back that the controller still knows; the answer is lost as those of submissions are."""
        now = self._call()
        job = self._jobs.get(job_id)
        if job is None or job.ended_at is None or not self._records.remembers(job, now):
            raise SubmissionRejected(f"scontrol: error: Invalid job id specified for job {job_id}")
        self._answer(f"{job.token}/{job_id}/requeue", partial(self._put_back, job), now)

    def snapshot(self, prefix: str, since: float, *, insist: bool = False) -> Snapshot:
        """Return what queue and accounting say together; every job here is of the one session there is."""
        try:
            now = self._call(2)
        except SchedulerUnavailable:
            return Snapshot(taken_at=self._clock.now(), calls=2)
        rows = tuple(self._records.rows(now))
        return Snapshot(taken_at=now, jobs=rows, queue_answered=True, accounting_answered=True, calls=2)

    def cancel(self, job_ids: Collection[JobId]) -> None:
        """End jobs, those that run and those that wait."""
        now = self._call()
        for job_id in job_ids:
            job = self._jobs.get(job_id)
            if job is not None and job.ended_at is None:
                self._end(job, "cancelled", now)

    def limits(self) -> Limits:
        """Return the configured limits."""
        self._call()
        cluster = self._config.cluster
        return Limits(max_array_size=cluster.max_array_size, max_submit=cluster.max_submit)

    def next_event_at(self) -> float:
        """Return when something happens next by itself (epoch seconds), infinity where nothing does."""
        return self._events[0][0] if self._events else math.inf

    def _call(self, count: int = 1) -> float:
        """Count a command, let everything happen that is due, and return the time. Raises SchedulerUnavailable."""
        self.calls += count
        now = self._clock.now()
        while self._events and self._events[0][0] <= now:
            at, _, happen = heapq.heappop(self._events)
            happen(at)
        if self._outages.is_silent(now):
            raise SchedulerUnavailable(_NO_CONTACT)
        return now

    def _at(self, moment: float, happen: Callable[[float], None]) -> None:
        if moment < math.inf:
            heapq.heappush(self._events, (moment, next(self._order), happen))

    def _answer(self, name: str, happen: Callable[[float], None], now: float) -> None:
        """Let a call have its effect. Raises SubmissionUnclear where its answer is lost, and then with luck only."""
        self._trials[name] += 1
        answer = luck.answer(self._seed, name, self._trials[name], self._config.controller)
        if not answer.is_lost:
            happen(now)
            return
        if answer.arrives:
            self._at(now + answer.late_s, happen)
        raise SubmissionUnclear(_TIMED_OUT)

    def _asked_for(self, request: SubmitRequest, now: float) -> list[SimulatedJob]:
        """Return the jobs of a submission. Raises QueueFull, SubmissionRejected."""
        model, offset = self._config.cluster, int(request.arguments[3])
        tasks = request.tasks or (None,)
        if model.max_submit is not None and self._unfinished + len(tasks) > model.max_submit:
            raise QueueFull("Batch job submission failed: Job violates accounting/QOS policy (QOSMaxSubmitJobPerUser)")
        avoided = self._nodes.numbers([*node_names(request.options.get("exclude", ""))])
        number, jobs = next(self._numbers), []
        for task in tasks:
            entry = self._entries[str(request.script), None if task is None else offset + task]
            asked = read_request(request, entry, model.gpus_per_node, avoided)
            if asked.memory > model.most_memory:
                raise SubmissionRejected("Batch job submission failed: Memory specification can not be satisfied")
            if not self._nodes.could_take(asked.width, asked.gpus, avoided):
                raise SubmissionRejected("Batch job submission failed: Requested node configuration is not available")
            jobs.append(
                SimulatedJob(
                    job_id=JobId(number, task),
                    token=request.name,
                    entry=entry,
                    attempt=int(request.arguments[0]),
                    asked=asked,
                    submitted_at=now,
                )
            )
        return jobs

    def _arrive(
        self, jobs: Sequence[SimulatedJob], dependency: Dependency | None, max_parallel: int | None, now: float
    ) -> None:
        """Put the jobs of a submission into the queue."""
        for job in jobs:
            job.submitted_at = now
            self._take_in(job)
        if dependency is None:
            self._line.add(jobs, max_parallel)
        else:
            for job in jobs:
                self._line.add_after(job, dependency)
        if self._line.is_in_sight():
            self._start_what_fits(now)

    def _put_back(self, ended: SimulatedJob, now: float) -> None:
        job = ended.again(now)
        self._take_in(job)
        self._line.add([job])
        self._start_what_fits(now)

    def _take_in(self, job: SimulatedJob) -> None:
        self._unfinished += 1
        self._jobs[job.job_id] = job
        self.runs.append(job)
        self._records.add(job)

    def _start_what_fits(self, now: float) -> None:
        def take(job: SimulatedJob) -> bool:
            job.nodes = self._nodes.take(*job.asked.shape)
            return bool(job.nodes)

        for job in self._line.startable(take):
            self._start(job, now)

    def _start(self, job: SimulatedJob, now: float) -> None:
        job.node_names, job.started_at = self._nodes.name(job.nodes), now
        job.change(JobState.RUNNING)
        model = self._config
        job.begun_s = self._done_s[job.entry.id] if model.jobs.resume else 0.0
        bad = len(self._bad.intersection(job.nodes))
        given = Conditions(
            begun_s=job.begun_s,
            memory=job.asked.memory,
            timeout_s=job.asked.timeout_s,
            limit_s=job.asked.limit_s,
            strain=len(job.nodes) + bad * (model.cluster.bad_factor - 1),
        )
        self._runs_of[job.entry.id] += 1
        withstands = luck.hazards(self._seed, job.entry.name, self._runs_of[job.entry.id])
        job.life = life(self._needs[job.entry.id], withstands, given, model)
        self._at(now + job.life.lasts_s, partial(self._end, job, job.life.cause))
        watched = self._settings[job.entry.watch]
        if watched.follows_logs and (watched.monitoring.inactivity_s or watched.monitoring.progress_s):
            self._write(job, now)

    def _write(self, job: SimulatedJob, now: float) -> None:
        """Let a running job write into its log, and again later."""
        beats = bool(self._settings[job.entry.watch].monitoring.progress_s)
        if job.ended_at is None and (beats or now < job.hangs_at):
            self._traces.output(job, now, self._progress_s(job, now), beats=beats)
            self._at(now + self._config.jobs.output_s, partial(self._write, job))

    def _end(self, job: SimulatedJob, cause: str, now: float) -> None:
        if job.ended_at is not None:
            return  # cancelled before it came to that
        job.ended_at, job.cause = now, cause
        job.change(_STATES.get(cause, JobState.FAILED))
        self._unfinished -= 1
        self._line.take_out(job)
        if job.started_at is not None:
            lasted_s = now - job.started_at
            succeeded = cause == "success"
            hangs_s = job.life.hangs_s
            job.account = account(self._config.jobs, job.begun_s, lasted_s, hangs_s, succeeded=succeeded)
            self._done_s[job.entry.id] = job.begun_s + job.account.kept_s
            self._traces.end(job, self._progress_s(job, now))
            self._nodes.give_back(job.nodes, job.asked.gpus)
        if cause == "node_fail":
            self._lose_node(job, now)
        self._line.ended(job)
        self._start_what_fits(now)

    def _lose_node(self, job: SimulatedJob, now: float) -> None:
        """Take down the node that a failure is put down to: a bad one where there is one among the job's."""
        node = min(job.nodes, key=lambda one: (one not in self._bad, one))
        self._nodes.take_down(node)

        def repaired(moment: float) -> None:
            self._nodes.bring_up(node)
            self._start_what_fits(moment)

        self._at(now + self._config.cluster.repair_s, repaired)

    def _progress_s(self, job: SimulatedJob, now: float) -> float:
        """Return how far into its entry's work a job is."""
        assert job.started_at is not None
        worked_s = min(now, job.hangs_at) - job.started_at - self._config.jobs.startup_s
        return job.begun_s + max(0.0, worked_s)
