"""The one file that knows every implementation: ours by import, other packages' by entry point."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Container
from importlib.metadata import entry_points
from typing import Any, cast

from compoconf import Registry

from oellm_bench.sinks.own import register_class

_BUILTIN = (
    "oellm_bench.actions.kinds",
    "oellm_bench.backends.command",
    "oellm_bench.backends.megatron",
    "oellm_bench.backends.script",
    "oellm_bench.backends.titan",
    "oellm_bench.backends.torchrun",
    "oellm_bench.conditions.combined",
    "oellm_bench.conditions.files",
    "oellm_bench.conditions.progress",
    "oellm_bench.launchers.apptainer",
    "oellm_bench.launchers.engine",
    "oellm_bench.launchers.host",
    "oellm_bench.launchers.pyxis",
    "oellm_bench.restart.policies",
    "oellm_bench.schedulers.fake",
    "oellm_bench.schedulers.slurm",
    "oellm_bench.sinks.files",
    "oellm_bench.sinks.google_drive",
    "oellm_bench.sinks.mlflow",
    "oellm_bench.sinks.slack",
    "oellm_bench.sinks.wandb",
)
_GROUPS = ("actions", "backends", "conditions", "launchers", "restart_policies", "schedulers", "sinks")
_log = logging.getLogger(__name__)


def load_all() -> None:
    """Import every implementation, so that its name can stand in a configuration.

    A plug-in of another package that cannot be imported is reported and left out, with what it had registered already:
    it must not take the tool down for campaigns that do not use it. A sink that is named as a class
    (`package.module:Class`) is only made known: what it imports is loaded where it is made.
    """
    for module in _BUILTIN:
        importlib.import_module(module)
    for group in _GROUPS:
        for point in entry_points(group=f"oellm_bench.{group}"):
            before = {id(known) for known in cast(Any, Registry).implementations()}
            try:
                if group == "sinks" and point.attr:
                    register_class(point)
                else:
                    point.load()
            except Exception as err:  # whatever a foreign module does on import
                _log.warning("plug-in %s (%s) could not be loaded: %s", point.name, point.value, err)
                _forget_halves(before)


def _forget_halves(before: Container[int]) -> None:
    """Take out of the registry what modules have registered, after `before` (ids), whose import has then failed."""
    for classes in cast(Any, Registry)._registries.values():  # it has no public way to take one out
        for name, known in [*classes.items()]:
            if id(known) not in before and not _is_imported(known.__module__):
                del classes[name]


def _is_imported(module: str) -> bool:
    """Tell whether a module and the packages around it are there: Python forgets those that failed."""
    parts = module.split(".")
    return all(".".join(parts[:end]) in sys.modules for end in range(1, len(parts) + 1))
