"""What every scheduler can do. The real client and the embedded one pass the same conformance suite."""

from __future__ import annotations

import abc
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from compoconf import RegistrableConfigInterface, register_interface

from oellm_bench.clock import Clock
from oellm_bench.core.job import JobId, Snapshot
from oellm_bench.errors import SubmissionRejected


@dataclass(frozen=True, kw_only=True)
class SubmitRequest:
    """One call of sbatch: `sbatch OPTIONS SCRIPT ARGUMENTS`.

    `name` becomes --job-name and is unique. `tasks` makes it an array; `max_parallel` throttles that.
    `options` are further long options without the dashes (`time`, `output`); they win over the script's
    own directives. `environment` is added to the environment that sbatch runs in. `not_after` (epoch seconds): what
    it rests on is not known to be so any later, and then it must not be made.
    """

    name: str
    script: Path
    arguments: tuple[str, ...] = ()
    tasks: tuple[int, ...] = ()
    max_parallel: int | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    not_after: float = math.inf

    def sbatch_argv(self) -> tuple[str, ...]:
        """Return the exact command line, for the real call and for --dry-run."""
        argv = ["sbatch", "--parsable", f"--job-name={self.name}"]
        if self.tasks:
            throttle = f"%{self.max_parallel}" if self.max_parallel else ""
            argv.append(f"--array={index_ranges(self.tasks)}{throttle}")
        argv += [f"--{key}={value}" for key, value in self.options.items()]
        return (*argv, str(self.script), *self.arguments)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What the scheduler lets one user do; None where it sets no limit."""

    max_array_size: int = 1001
    max_submit: int | None = None


@dataclass(frozen=True, kw_only=True)
class Pause:
    """A command that has failed so often, and is left alone for that much longer."""

    command: str
    failures: int
    left_s: float
    message: str


@dataclass(frozen=True, kw_only=True)
class CallBudget:
    """How many calls of the scheduler's commands are left: `burst` at once, `per_s` in the long run."""

    left: int
    burst: int
    per_s: float
    made: int
    pauses: tuple[Pause, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Partition:
    """What a partition allows; None where it sets no limit. `is_default`: for jobs that name none."""

    name: str
    is_default: bool = False
    is_up: bool = True
    max_time_s: int | None = None
    max_nodes: int | None = None
    total_nodes: int = 0


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What the scheduler says of a submission that is not made: when it would start, or why it is refused."""

    accepted: bool
    message: str


@register_interface
class Scheduler(RegistrableConfigInterface, abc.ABC):
    """What is asked of a scheduler. It holds no list of jobs: whoever calls owns the ids.

    Implementations take `(config, folder)`; `folder` is where one that needs files of its own keeps them. Making
    one touches no disk and asks nobody: `plan` does it to have its configuration checked.
    """

    # How long after an unclear submission its job may still turn up: the client's own retries (up to 15, sbatch
    # source), MessageTimeout and the accounting flush. Seconds.
    lookup_grace_s = 90.0

    # More than this between two looks would only keep people waiting. Seconds.
    longest_pause_s = math.inf

    @abc.abstractmethod
    def submit(self, request: SubmitRequest) -> JobId:
        """Submit once and return the job's id (of an array: the id its tasks share).

        Raises SubmissionUnclear where the job may exist all the same, SubmissionRejected where it does
        not and never will, SchedulerUnavailable where nothing was sent.
        """

    @abc.abstractmethod
    def snapshot(self, prefix: str, since: float, *, insist: bool = False) -> Snapshot:
        """Return every job and array task whose name begins with `prefix`, submitted after `since` (epoch s).

        At most two scheduler calls whatever the number of jobs. Never raises for a source that does not
        answer: the snapshot says which did. `insist`: ask also what is left alone for now because it has failed.
        """

    @abc.abstractmethod
    def cancel(self, job_ids: Collection[JobId]) -> None:
        """Cancel jobs or array tasks; one that has ended already is no error.

        Raises SchedulerUnavailable.
        """

    def requeue(self, job_id: JobId) -> None:
        """Put an ended job back into the queue, under its id.

        Raises SubmissionUnclear where it may have happened, SchedulerUnavailable where nothing was sent, and any other
        SchedulerError where it cannot be done.
        """
        raise SubmissionRejected(f"{type(self).__name__} cannot put job {job_id} back into the queue")

    @abc.abstractmethod
    def limits(self) -> Limits:
        """Return what the cluster allows. Raises SchedulerUnavailable."""

    def partitions(self) -> tuple[Partition, ...]:
        """Return the cluster's partitions, none where it has no such thing. Raises SchedulerUnavailable."""
        return ()

    def rehearse(self, request: SubmitRequest) -> Trial:
        """Return what would become of a submission, without making it. Raises SchedulerUnavailable."""
        return Trial(accepted=True, message=f"{type(self).__name__} cannot say beforehand what it will take")

    def wait(self, pause_s: float, clock: Clock) -> None:
        """Let time pass until the next look; less of it where the scheduler tells that something has changed."""
        clock.sleep(pause_s)

    def close(self) -> None:
        """Let go of what was opened for looking."""

    def budget(self) -> CallBudget | None:
        """Return what is left of the calls one may make, None where they cost nobody anything."""
        return None


def index_ranges(indices: Collection[int]) -> str:
    """Return array indices as sbatch takes them: `0-3,7,9-10`."""
    parts: list[str] = []
    ordered = sorted(set(indices))
    start = 0
    for position, value in enumerate(ordered):
        if position + 1 == len(ordered) or ordered[position + 1] != value + 1:
            first = ordered[start]
            parts.append(str(first) if first == value else f"{first}-{value}")
            start = position + 1
    return ",".join(parts)
