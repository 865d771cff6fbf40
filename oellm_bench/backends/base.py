"""What a backend is: it turns its configuration into the command of an entry."""

from __future__ import annotations

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from compoconf import RegistrableConfigInterface, register_interface

from oellm_bench.core.launch import LaunchCommand
from oellm_bench.core.resources import Resources
from oellm_bench.errors import Problem


@dataclass(frozen=True, kw_only=True)
class BackendJobSpec:
    """What a backend is told of the job that its command will run in.

    `resources`: the nodes and the GPUs of the whole job. `tasks_per_node`: what sbatch is asked for; `tasks`: on all
    nodes, 0 where it is not said. `srun`: options of the step that the command is started as; empty where it runs once,
    on the first node. `own_srun`: a launcher of the user's starts a step too. `contained`: a container or another
    prefix stands in front of the command. `heterogeneous`: the job has components of different kinds.
    `varying`: it may get fewer nodes than `resources` counts. `with_ray`: the command runs beside a Ray head, once.
    `inside(folders)`: what starts a program here and now in the job's container, with these folders to see; empty where
    there is none, or none that runs outside of the job.
    """

    resources: Resources = field(default_factory=Resources)
    tasks_per_node: int = 1
    tasks: int = 0
    srun: Mapping[str, Any] = field(default_factory=dict)
    own_srun: bool = False
    contained: bool = False
    heterogeneous: bool = False
    varying: bool = False
    with_ray: bool = False
    inside: Callable[[Sequence[str]], tuple[str, ...]] = field(default=lambda folders: (), compare=False)

    @property
    def gpus_per_node(self) -> int:
        """Return the GPUs of each node, rounded down."""
        return self.resources.gpus // max(1, self.resources.nodes)


@register_interface
class Backend(RegistrableConfigInterface, abc.ABC):
    """One way to run something. Implementations take `(config)` and touch no disk, network or clock.

    A backend of another package is found by the entry-point group `oellm_bench.backends`.
    """

    # Whether benchmark_results/metrics.json must be there when the command has exited with 0.
    contract = False

    @abc.abstractmethod
    def validate(self, spec: BackendJobSpec) -> Sequence[Problem]:
        """Return what is wrong with the configuration for such a job, nothing when it can run.

        `where` of a problem is the field's name; the caller adds the file. Called for every entry by `plan`.
        """

    @abc.abstractmethod
    def build_launch_command(self, spec: BackendJobSpec) -> LaunchCommand:
        """Return the command; strings may hold `{placeholders}`, which the planner fills in per entry."""
