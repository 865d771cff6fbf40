"""What a backend is: it turns its configuration into the command of an entry."""

from __future__ import annotations

import abc
from collections.abc import Sequence

from compoconf import RegistrableConfigInterface, register_interface

from oellm_bench.core.launch import LaunchCommand
from oellm_bench.errors import Problem


@register_interface
class Backend(RegistrableConfigInterface, abc.ABC):
    """One way to run something. Implementations take `(config)` and touch no disk, network or clock.

    A backend of another package is found by the entry-point group `oellm_bench.backends`.
    """

    # Whether benchmark_results/metrics.json must be there when the command has exited with 0.
    contract = False

    @abc.abstractmethod
    def validate(self) -> Sequence[Problem]:
        """Return what is wrong with the configuration, nothing when it can run.

        `where` of a problem is the field's name; the caller adds the file. Called for every entry by `plan`.
        """

    @abc.abstractmethod
    def build_launch_command(self) -> LaunchCommand:
        """Return the command; strings may hold `{placeholders}`, which the planner fills in per entry."""
