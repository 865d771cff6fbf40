"""Who waits for what on the simulated cluster: for other jobs, for a turn in an array, for room."""

from __future__ import annotations

import itertools
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from oellm_bench.core.job import JobId, JobState
from oellm_bench.errors import SubmissionRejected
from oellm_bench.monitoring.classify import DEPENDENCY_NEVER_SATISFIED
from oellm_bench.simulation.job import SimulatedJob

# Jobs that are tried for room in one look, as SLURM's bf_max_job_test has it by default (slurm.conf(5)).
_LOOKED_AT = 100


@dataclass(frozen=True, kw_only=True)
class Dependency:
    """The jobs that another one waits for, and whether each of them has to end well."""

    others: tuple[SimulatedJob, ...]
    success: bool


class WaitingLine:
    """Jobs that have not started: those in the line for room, those before them who wait for something else."""

    def __init__(self) -> None:
        self._line: dict[JobId, SimulatedJob] = {}
        self._later_tasks: dict[int, deque[SimulatedJob]] = {}
        self._followers: dict[JobId, list[SimulatedJob]] = defaultdict(list)
        self._needs_success: set[JobId] = set()

    def add(self, jobs: Sequence[SimulatedJob], max_parallel: int | None = None) -> None:
        """Take in a job, or the tasks of an array of which `max_parallel` may run at once."""
        for job in jobs[:max_parallel]:
            self._line[job.job_id] = job
        if max_parallel is not None and len(jobs) > max_parallel:
            self._later_tasks[jobs[0].job_id.job] = deque(jobs[max_parallel:])

    def add_after(self, job: SimulatedJob, dependency: Dependency) -> None:
        """Take in a job that waits for the end of others."""
        job.change(JobState.PENDING, "Dependency")
        job.waits_for = {other.job_id for other in dependency.others}
        if dependency.success:
            self._needs_success.add(job.job_id)
        for other in dependency.others:
            if other.ended_at is None:
                self._followers[other.job_id].append(job)
            else:
                self._told(job, other)

    def take_out(self, job: SimulatedJob) -> None:
        """Forget a job that has started or was cancelled."""
        self._line.pop(job.job_id, None)

    def ended(self, job: SimulatedJob) -> None:
        """Let those go on that waited for the end of this job."""
        later = self._later_tasks.get(job.job_id.job)
        while later:
            following = later.popleft()
            if following.ended_at is None:  # else it was cancelled while it waited
                self._line[following.job_id] = following
                break
        for follower in self._followers.pop(job.job_id, ()):
            self._told(follower, job)

    def startable(self, take: Callable[[SimulatedJob], bool]) -> Iterator[SimulatedJob]:
        """Yield jobs for which `take` has found room; of equal shapes only the first is asked for in vain."""
        found = True
        while found:
            found, full = False, set()
            for job in list(itertools.islice(self._line.values(), _LOOKED_AT)):
                if job.asked.shape in full:
                    continue
                if take(job):
                    found = True
                    self.take_out(job)
                    yield job
                else:
                    full.add(job.asked.shape)

    def is_in_sight(self) -> bool:
        """Tell whether a job that was added last is among those that are looked at."""
        return len(self._line) <= _LOOKED_AT

    def _told(self, follower: SimulatedJob, ended: SimulatedJob) -> None:
        follower.waits_for.discard(ended.job_id)
        if follower.job_id in self._needs_success and _has_failed(ended):
            follower.change(follower.state, DEPENDENCY_NEVER_SATISFIED)
        elif not follower.waits_for and follower.ended_at is None and follower.reason == "Dependency":
            follower.change(JobState.PENDING, "Priority")
            self._line[follower.job_id] = follower


def read_dependency(text: str, known: Mapping[JobId, SimulatedJob]) -> Dependency:
    """Read `afterok:1:2_3`; of several parts the last one, which is the package's own.

    Raises SubmissionRejected for a job that nobody knows, and for one that has ended otherwise than asked for.
    """
    kind, *ids = text.split(",")[-1].split(":")
    found = [known.get(JobId.parse(job_id)) for job_id in ids]
    success = kind == "afterok"
    others = [job for job in found if job is not None and not (success and _has_failed(job))]
    if len(others) < len(found):
        raise SubmissionRejected("Batch job submission failed: Job dependency problem")
    return Dependency(others=tuple(others), success=success)


def _has_failed(job: SimulatedJob) -> bool:
    return job.state.is_terminal and job.state is not JobState.COMPLETED
